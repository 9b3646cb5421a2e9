"""Files that are no submission, or that want to do harm: one line each, and nothing is written."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered import altered
from support import ask

from shiqbench.base.errors import ConfigError
from shiqbench.submissions import archive
from shiqbench.submissions.archive import INDEX, read_submission

pytestmark = pytest.mark.usefixtures("own_cache")


def rezipped(
    path: Path, target: Path, change: Callable[[dict[str, bytes]], Any], how: int = zipfile.ZIP_STORED
) -> Path:
    """Write the same entries once more, changed."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w", how) as new:
        for name, content in entries.items():
            new.writestr(name, content)
    return target


def index_with(**values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        entries[INDEX] = json.dumps({**json.loads(entries[INDEX]), **values}).encode()

    return change


NAMES = [
    "../evil",
    "/etc/evil",
    "mdp/../../evil",
    "a\\..\\evil",
    "..",
    "mdp/shiq/0123456789ab/checkpoint/model.safetensors",
    "mdp/shiq/0123456789ab/config.json/",
    "mdp/shiq/0123456789ab/eval/0123456789ab/x.py",
    "\x1b[31m",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_submission_has(submission: Path, tmp_path: Path, name: str) -> None:
    path = rezipped(submission, tmp_path / "x.zip", lambda e: e.update({name: b"evil"}))
    with pytest.raises(ConfigError, match="which is no file of a submission") as error:
        read_submission(path)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.pop(INDEX), "it has no submission.json"),
        (lambda e: e.update({INDEX: b"{"}), "submission.json is not JSON"),
        (lambda e: e.update({INDEX: b"[]"}), "submission.json is no JSON object"),
        (lambda e: e.update({INDEX: b'{"a": Infinity}'}), "submission.json is not JSON"),
        (lambda e: e.update({INDEX: b"[" * 200_000}), "submission.json is not JSON"),
        (lambda e: e.update({INDEX: b"\xff\xfe"}), "submission.json is not JSON"),
        (index_with(format="1"), "submission.json is not valid: format: Input should be a valid integer"),
        (index_with(digest="abc"), "submission.json is not valid: digest"),
        (index_with(digest="0" * 64), "names the cell mdp/shiq/"),
        (index_with(files={}), "do not name the same files"),
        (index_with(more=1), "submission.json is not valid: more"),
        (index_with(cell="mdp/dpo/0123456789ab"), "it must hold one cell, 'mdp/dpo/0123456789ab'"),
        (index_with(cell=["a"]), "submission.json is not valid: cell"),
        (lambda e: e.update({"tuned/0123456789ab.json": b"{}"}), "do not name the same files"),
    ],
)
def test_an_index_that_is_wrong(
    submission: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], Any], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read_submission(rezipped(submission, tmp_path / "x.zip", change))
    assert said in str(error.value)
    assert str(tmp_path / "x.zip") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("version", "advice"), [(2, "update shiqbench"), (0, "install the shiqbench that wrote it")])
def test_another_version_of_the_format(submission: Path, tmp_path: Path, version: int, advice: str) -> None:
    path = rezipped(submission, tmp_path / "x.zip", index_with(format=version, new_key=1))
    with pytest.raises(
        ConfigError, match=rf"has version {version} of the format, and this shiqbench reads 1.*{advice}"
    ):
        read_submission(path)


def test_two_cells_in_one_file(packed: Path, submission: Path, tmp_path: Path) -> None:
    other = read_submission(next(p for p in sorted(packed.iterdir()) if p.name != submission.name))
    path = altered(submission, tmp_path / "x.zip", lambda files: files.update(other.files))
    with pytest.raises(ConfigError, match="it must hold one cell"):
        read_submission(path)


def test_what_would_unpack_to_more_than_it_is(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rezipped(submission, tmp_path / "x.zip", lambda e: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ConfigError, match="is compressed, and submissions are not"):
        read_submission(path)
    monkeypatch.setattr(archive, "MOST", 3)
    with pytest.raises(ConfigError, match="files, and a submission has at most 3"):
        read_submission(submission)
    monkeypatch.setattr(archive, "LARGEST", 100)
    with pytest.raises(ConfigError, match="and a submission has at most 100"):
        read_submission(submission)


def test_an_encrypted_file_and_a_file_twice(submission: Path, tmp_path: Path) -> None:
    content = submission.read_bytes()
    at = content.index(b"PK\x01\x02")  # the first entry of the directory
    (tmp_path / "x.zip").write_bytes(content[: at + 8] + b"\x01" + content[at + 9 :])
    with pytest.raises(ConfigError, match="is encrypted"):
        read_submission(tmp_path / "x.zip")
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as new, pytest.warns(UserWarning, match="Duplicate name"):
        new.writestr(INDEX, b"{}")
    (tmp_path / "y.zip").write_bytes(stream.getvalue())
    with pytest.raises(ConfigError, match=r"it holds submission\.json twice"):
        read_submission(tmp_path / "y.zip")


def test_damaged_files_folders_and_none(submission: Path, tmp_path: Path) -> None:
    content = submission.read_bytes()
    at = content.index(b"seed-5") if b"seed-5" in content else content.index(b'"beta"')
    for number, damaged in enumerate((b"", b"no zip", content[:-40], content[:at] + b"XXXX" + content[at + 4 :])):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(damaged)
        done = ask("verify", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: no submission: it is no whole zip file: ")
        assert done.stderr.count("\n") == 1
    assert "this is a folder" in ask("verify", tmp_path).stderr
    assert "there is no such file" in ask("verify", tmp_path / "none").stderr
