"""Fetching pinned wheels: the real one, and everything that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from shiqbench_tasks.bfcl_v3.versions import BFCL_V3

from shiqbench.base import wheels as assets
from shiqbench.base.cache import MARKER
from shiqbench.base.errors import AssetError, ExitCode
from shiqbench.base.wheels import fetch

FETCH = "from shiqbench.base.wheels import *; print(fetch(BFCL_V3))"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache with the real BFCL wheel in it, and what was reported while it was fetched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIQBENCH_CACHE", str(tmp_path_factory.mktemp("filled")))
        lines = []
        folder = fetch(BFCL_V3, report=lines.append)
        yield folder, lines


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SHIQBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def pip(monkeypatch):
    """Replace the download: ``pip(files)`` makes it deliver these files; counts the calls."""
    calls = []

    def install(files):
        def download(wheel, folder, report):
            calls.append(wheel)
            for name, content in files.items():
                (folder / name).write_bytes(content)

        monkeypatch.setattr(assets, "_download", download)
        return calls

    return install


@pytest.fixture
def fake_pip(tmp_path):
    """``fake_pip(code)`` -> an environment whose ``python -m pip`` runs that code."""

    def make(code):
        package = tmp_path / "fake" / "pip"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(code)
        return {**os.environ, "PYTHONPATH": str(package.parent)}

    return make


def wheel_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def made(content):
    """A wheel pinned to ``content``."""
    sha256 = hashlib.sha256(content).hexdigest()
    return assets.Wheel("made", "1.0", "made-1.0-py3-none-any.whl", sha256, 0.1)


def left_over(cache):
    """Everything below a cache but its locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


# -- the good ways ------------------------------------------------------------------------------------------


def test_the_real_wheel_is_unpacked_and_its_download_removed(filled):
    folder, lines = filled
    assert (folder / "bfcl_eval" / "__init__.py").is_file()
    assert (folder / "bfcl_eval-2025.7.17.dist-info" / "METADATA").is_file()
    assert lines == [f"fetching bfcl-eval==2025.7.17 (1.7 MB) into {folder.parent.parent}"]
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock") == [folder.name]


def test_a_cached_wheel_starts_no_process_and_writes_nothing(filled, monkeypatch):
    folder, _ = filled
    monkeypatch.setenv("SHIQBENCH_CACHE", str(folder.parent.parent))

    def refuse(*arguments, **options):
        raise AssertionError("started a process or wrote to the cache")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fetch(BFCL_V3, report=refuse) == folder


def test_two_processes_fetch_once(cache):
    processes = [
        subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {out for out, _ in outputs} == {f"{cache / 'wheels' / 'bfcl-eval-2025.7.17'}\n"}
    assert sum("fetching bfcl-eval" in err for _, err in outputs) == 1


def test_cache_dir_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SHIQBENCH_CACHE", "~/elsewhere")
    assert assets.cache_dir() == Path.home() / "elsewhere"
    monkeypatch.setenv("SHIQBENCH_CACHE", "relative")
    assert assets.cache_dir() == Path.cwd() / "relative"
    monkeypatch.setenv("SHIQBENCH_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert assets.cache_dir() == Path("/somewhere/shiqbench")


def test_importing_is_light():
    code = "import sys, shiqbench.base.wheels, shiqbench.models.embedded, shiqbench.commands.doctor\n"
    code += "print([m for m in ('torch', 'transformers', 'rich', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_a_killed_process_left_is_removed(cache, pip):
    content = wheel_bytes({"a.txt": "a"})
    wheel = made(content)
    stale = cache / "wheels" / ".made-1.0.99999.tmp"
    stale.mkdir(parents=True)
    (cache / "wheels" / ".made-1.0.download").mkdir()
    (cache / "wheels" / ".made-1.0.download" / "half").touch()
    pip({wheel.filename: content})
    folder = fetch(wheel, report=[].append)
    assert {path.name for path in folder.parent.iterdir()} <= {"made-1.0", ".made-1.0.lock"}


# -- what makes a cached copy invalid -----------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["absent", "other", "garbage", "list", "missing file", "truncated file"])
def test_a_damaged_copy_is_fetched_again(cache, pip, damage):
    content = wheel_bytes({"pkg/a.txt": "aaaa", "pkg/b.txt": "b"})
    wheel = made(content)
    calls = pip({wheel.filename: content})
    folder = fetch(wheel, report=[].append)
    assert fetch(wheel, report=[].append) == folder
    assert len(calls) == 1
    marker = folder / MARKER
    match damage:
        case "absent":
            marker.unlink()
        case "other":
            marker.write_text(json.dumps({**json.loads(marker.read_text()), "identity": "0" * 64}))
        case "garbage":
            marker.write_bytes(b"\xff{")
        case "list":
            marker.write_text("[]")
        case "missing file":
            (folder / "pkg" / "b.txt").unlink()
        case "truncated file":
            (folder / "pkg" / "a.txt").write_text("aa")
    (folder / "stray.txt").touch()
    fetch(wheel, report=[].append)
    assert len(calls) == 2
    assert (folder / "pkg" / "a.txt").read_text() == "aaaa"
    assert not (folder / "stray.txt").exists()


def test_a_new_pin_replaces_the_old_copy(cache, pip):
    old, new = wheel_bytes({"a.txt": "old"}), wheel_bytes({"a.txt": "new"})
    for content in (old, new):
        pip({made(content).filename: content})
        folder = fetch(made(content), report=[].append)
        assert (folder / "a.txt").read_bytes() in content
    assert (folder / "a.txt").read_text() == "new"


# -- errors: one line, what, where, what to do --------------------------------------------------------------


def test_a_wrong_hash_names_both_and_leaves_nothing(cache, pip):
    content = wheel_bytes({"a.txt": "a"})
    wheel = replace(made(content), sha256="f" * 64)
    pip({wheel.filename: content})
    with pytest.raises(AssetError) as caught:
        fetch(wheel, report=[].append)
    line = caught.value.line()
    assert made(content).sha256[:12] in line
    assert "expected ffffffffffff" in line
    assert "do not use it" in line
    assert "\n" not in line
    assert caught.value.exit_code is ExitCode.USAGE
    assert left_over(cache) == []


def test_another_file_than_the_pinned_wheel(cache, pip):
    pip({"made-1.0-cp311-cp311-linux_x86_64.whl": b""})
    with pytest.raises(AssetError, match=r"did not deliver made-1\.0-py3"):
        fetch(made(b""), report=[].append)


def test_no_registry(cache, monkeypatch):
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AssetError) as caught:
        fetch(BFCL_V3, report=[].append)
    line = caught.value.line()
    assert line.startswith("pip reached no registry to fetch bfcl-eval==2025.7.17 from (pip said: Could not find")
    assert line.endswith("run the same command again")
    assert left_over(cache) == []


def test_a_registry_without_the_wheel(cache, tmp_path, monkeypatch):
    (tmp_path / "simple").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(AssetError, match=r"no registry that has bfcl-eval==2025\.7\.17"):
        fetch(BFCL_V3, report=[].append)


def test_pip_in_the_working_folder_is_not_run(cache, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('shadow')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(AssetError, match="pip said: Could not find"):
        fetch(BFCL_V3, report=[].append)


def test_no_pip_in_the_environment(cache, monkeypatch):
    monkeypatch.setattr(assets, "has_pip", lambda: False)
    with pytest.raises(AssetError, match=r"has none \(.*python.*\); run `.*-m ensurepip` or `uv pip install pip`"):
        fetch(BFCL_V3, report=[].append)


def test_looking_for_pip_leaves_setuptools_whole():
    code = "import distutils.core; from shiqbench.base.wheels import has_pip; assert has_pip(); import setuptools"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import sys; print('ERROR: OSError: [Errno 28] No space left on device'); sys.exit(1)",
            "disk is full",
        ),
        ("import sys; print('ERROR: refused'); print('noise'); sys.exit(3)", "pip said: refused"),
        ("import sys; sys.exit(3)", "could not download bfcl-eval==2025.7.17 (pip said: nothing)"),
    ],
)
def test_what_pip_says_becomes_one_line(cache, fake_pip, code, expected):
    caller = "import sys\nfrom shiqbench.base.wheels import BFCL_V3, fetch\ntry:\n    fetch(BFCL_V3)\n"
    caller += "except ValueError as error:\n    sys.exit(error.line())"
    done = subprocess.run(
        [sys.executable, "-c", caller], env=fake_pip(code), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert expected in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_unpacking(cache, pip, monkeypatch, number):
    content = wheel_bytes({"a.txt": "a"})
    pip({made(content).filename: content})

    def full(self, folder):
        (Path(folder) / "half").touch()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(AssetError, match=r"the disk is full \(.*cache\); free some space"):
        fetch(made(content), report=[].append)
    assert left_over(cache) == []


def test_an_unwritable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match=r"cannot write the cache folder: .*; set SHIQBENCH_CACHE"):
        fetch(BFCL_V3, report=[].append)


def link():
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "\\evil", "C:\\evil", "a\\..\\..\\evil", link()])
def test_a_wheel_that_would_leave_its_folder(cache, pip, name):
    content = wheel_bytes({"good.txt": "a", name: "/etc/passwd"})
    pip({made(content).filename: content})
    with pytest.raises(AssetError, match="unsafe path"):
        fetch(made(content), report=[].append)
    assert left_over(cache) == []
    assert not list(cache.parent.rglob("evil"))


def test_a_pinned_file_that_is_no_wheel(cache, pip):
    pip({made(b"text").filename: b"text"})
    with pytest.raises(AssetError, match="not a readable wheel"):
        fetch(made(b"text"), report=[].append)


def test_an_interrupt_kills_pip_and_leaves_nothing(cache, tmp_path, fake_pip):
    started = tmp_path / "started"
    code = "import os, pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", FETCH], env=fake_pip(code), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert left_over(cache) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_and_nothing_stays_of_it(cache, fake_pip):
    import pty

    main, side = pty.openpty()
    code = FETCH.replace("BFCL_V3", "BFCL_V3, report=None")
    environment = {
        **fake_pip("import time, sys; time.sleep(0.5); sys.exit(1)"),
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=side, stdout=side)
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side was closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(timeout=30) == 1
    assert b"fetching bfcl-eval==2025.7.17" in shown
    assert b"1.7 MB" in shown
    assert b"MB) into" not in shown  # the plain line is for files and pipes
