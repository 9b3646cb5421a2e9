"""``--push-to-hub``: what is shown, what is uploaded, and what each refusal says; the hub is a small server here."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import ask

from shiqbench.base.files import write_json
from shiqbench.store.cell import mark_done

TOKEN = "hf_secretsecretsecretsecret"
NAME = "someone/my-model"


class Hub(ThreadingHTTPServer):
    """The hub's HTTP interface, as far as an upload of small files uses it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.rights = 200  # what a request with the token gets
        self.interrupted = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, code: int, content: Any, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def allowed(self) -> bool:
        code = self.server.rights if self.headers.get("Authorization") == f"Bearer {TOKEN}" else 401
        if code != 200:
            self.answer(code, {"error": f"refused, {self.headers.get('Authorization')}"})
        return code == 200

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if not self.allowed():
            return
        name = re.sub("^/api/models/", "", self.path)
        if (found := self.server.repositories.get(name)) is None:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        else:
            files = [{"rfilename": file} for file in found["files"]]
            self.answer(200, {"id": name, "private": found["private"], "siblings": files})

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self.read()
        if not self.allowed():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private", asked.get("visibility") == "private")
            self.server.repositories[name] = {"private": private, "files": {".gitattributes": b""}}
            self.answer(200, {"url": f"{self.server.url}/{name}", "id": name, "name": name})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif self.server.interrupted:
            self.close_connection = True
            self.connection.close()
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            of = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            self.server.repositories[NAME]["files"] |= of
            url = f"{self.server.url}/{NAME}/commit/{'0' * 40}"
            self.answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url})

    def read(self) -> bytes:
        """Read a body that is sent in chunks."""
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A finished cell with a few bytes of weights."""
    folder = tmp_path / "results" / "toy" / "sft" / "0123456789ab"
    (folder / "checkpoint").mkdir(parents=True)
    recipe = {"name": "sft", "version": "1", "config": {}}
    task = {"name": "toy", "version": "1", "config": {}, "data": {}}
    write_json(folder / "config.json", {"algorithm": recipe, "task": task, "train": {"updates": 1}, "seed": 0})
    budget = {"updates": 1, "tokens": 1, "episodes": 1}
    home = str(tmp_path / "home" / "tiny")
    write_json(folder / "manifest.json", {"model": home, "shiqbench": "0", "budget": budget, "start": None})
    write_json(folder / "checkpoint" / "config.json", {})
    (folder / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    mark_done(folder, [f for f in folder.rglob("*") if f.is_file()])
    return folder


def push(cell: Path, *more: str) -> tuple[int, str, str]:
    done = ask("export", cell, "--format", "hf", "--push-to-hub", NAME, *more)
    assert TOKEN not in done.stdout + done.stderr
    assert not list(Path.cwd().glob(".hf-*"))
    return done.returncode, done.stdout, done.stderr


FILES = ["README.md", "config.json", "model.safetensors", "shiqbench.json"]


def test_without_yes_it_is_only_shown(hub: Hub, cell: Path) -> None:
    code, out, _ = push(cell)
    assert code == 0
    assert hub.asked == []
    assert out.startswith("would upload 4 files, 0.0 MB, to " + f"{hub.url}/{NAME} (private):\n")
    assert [line.split()[-1] for line in out.splitlines()[1:5]] == FILES
    assert "             7  model.safetensors\n" in out
    assert out.endswith("nothing was uploaded; --yes does it\n")
    assert "(PUBLIC)" in push(cell, "--public")[1]


def test_with_yes_the_repository_has_the_files(hub: Hub, cell: Path) -> None:
    code, out, err = push(cell, "--yes", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["commit"].startswith(f"{hub.url}/{NAME}/commit/")
    made = hub.repositories[NAME]
    assert made["private"] is True
    assert sorted(made["files"]) == [".gitattributes", *FILES]
    assert made["files"]["model.safetensors"] == b"weights"
    assert {name: len(made["files"][name]) for name in FILES} == said["files"]
    card = made["files"]["README.md"].decode()
    assert "# my-model" in card
    assert str(cell.parents[3]) not in card  # no path of this machine
    again = push(cell, "--yes")
    assert again[0] == 2
    assert "the repository exists and holds README.md and 3 more; nothing is overwritten" in again[2]


def test_a_refused_token_is_one_line(hub: Hub, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.rights = 401
    assert push(cell, "--yes")[::2] == (
        2,
        f"error: the hub refuses the token (--push-to-hub {NAME}); run `hf auth login`, or set HF_TOKEN\n",
    )
    hub.rights = 403
    assert "the token may not write there" in push(cell, "--yes")[2]
    monkeypatch.delenv("HF_TOKEN")
    assert "there is no token for the hub" in push(cell, "--yes")[2]
    assert hub.repositories == {}


def test_an_empty_repository_is_used_if_it_is_as_private_as_asked(hub: Hub, cell: Path) -> None:
    hub.repositories[NAME] = {"private": False, "files": {".gitattributes": b""}}
    code, _, err = push(cell, "--yes")
    assert code == 2
    assert "the repository exists and is public, not private" in err
    assert push(cell, "--yes", "--public")[0] == 0
    assert "model.safetensors" in hub.repositories[NAME]["files"]


def test_an_interrupted_upload_leaves_nothing_and_can_be_repeated(hub: Hub, cell: Path) -> None:
    hub.interrupted = True
    code, _, err = push(cell, "--yes")
    assert code == 1
    assert err.startswith("error: the upload failed: ")
    assert err.count("\n") == 1
    assert list(hub.repositories[NAME]["files"]) == [".gitattributes"]
    hub.interrupted = False
    assert push(cell, "--yes")[0] == 0
    assert "model.safetensors" in hub.repositories[NAME]["files"]


def test_a_token_in_a_message_of_the_hub_is_not_printed(hub: Hub, cell: Path) -> None:
    hub.rights = 418
    code, _, err = push(cell, "--yes")  # the server repeats the token
    assert code == 1
    assert err.startswith("error: the upload failed: ")


def test_what_cannot_be_honoured_is_refused(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def refused(*words: str) -> str:
        done = ask("export", cell, *words)
        assert done.returncode == 2
        return done.stderr

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    to_hub = ("--format", "hf", "--push-to-hub", NAME)
    assert "while HF_HUB_OFFLINE is set" in refused(*to_hub, "--yes")
    assert "cannot be used with --push-to-hub (--output)" in refused(*to_hub, "--output", "x")
    assert "only weights are uploaded" in refused("--format", "bfcl", "--push-to-hub", NAME)
    assert "'my-model' is no repository (--push-to-hub); write OWNER/NAME" in refused(*to_hub[:3], "my-model")
    for option in ("--yes", "--public"):
        assert f"it is for an upload ({option}); add --push-to-hub" in refused("--format", "hf", option)
