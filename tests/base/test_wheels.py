"""Fetching pinned wheels with the real pip: the real one, small ones, and everything that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shiqbench_tasks.bfcl_v3.versions import BFCL_V3

from shiqbench.base import wheels
from shiqbench.base.cache import MARKER, cache_dir
from shiqbench.base.errors import AssetError, ExitCode
from shiqbench.base.wheels import Wheel, fetch

FETCH = "from shiqbench_tasks.bfcl_v3.versions import BFCL_V3; from shiqbench.base.wheels import fetch\n"
FETCH += "print(fetch(BFCL_V3))"
Made = Callable[..., Wheel]
FakePip = Callable[[str], dict[str, str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A cache with the real BFCL wheel in it, and what was reported while it was fetched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIQBENCH_CACHE", str(tmp_path_factory.mktemp("filled")))
        lines: list[str] = []
        folder = fetch(BFCL_V3, report=lines.append)
        yield folder, lines


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """``made(members)``: a pinned wheel of these files, in the only place where pip looks."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))

    def make(members: dict[str, str]) -> Wheel:
        file, facts = shelf / "made-1.0-py3-none-any.whl", "made-1.0.dist-info"
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
            archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{facts}/RECORD", "")
        return Wheel("made", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), 0.1)

    return make


@pytest.fixture
def fake_pip(tmp_path: Path) -> FakePip:
    """``fake_pip(code)`` -> an environment whose ``python -m pip`` runs that code."""

    def make(code: str) -> dict[str, str]:
        package = tmp_path / "fake" / "pip"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(code)
        return {**os.environ, "PYTHONPATH": str(package.parent)}

    return make


def quiet(line: str) -> None:
    """Drop a line of progress."""


def left_over(cache: Path) -> list[Path]:
    """Everything below a cache but its locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


# -- the good ways ------------------------------------------------------------------------------------------


def test_the_real_wheel_is_unpacked_and_nothing_else_stays(filled: tuple[Path, list[str]]) -> None:
    folder, lines = filled
    assert (folder / "bfcl_eval" / "__init__.py").is_file()
    assert (folder / "bfcl_eval-2025.7.17.dist-info" / "METADATA").is_file()
    assert lines == [f"fetching bfcl-eval==2025.7.17 (1.7 MB) into {folder.parent.parent}"]
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock") == [folder.name]
    assert not (folder / ".pip").exists()
    assert not list(folder.rglob("*.pyc"))


def test_a_cached_wheel_starts_no_process_and_writes_nothing(
    filled: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = filled
    monkeypatch.setenv("SHIQBENCH_CACHE", str(folder.parent.parent))

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("started a process or wrote to the cache")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fetch(BFCL_V3, report=refuse) == folder


@pytest.mark.slow
def test_two_processes_fetch_once(own_cache: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {out for out, _ in outputs} == {f"{own_cache / 'wheels' / 'bfcl-eval-2025.7.17'}\n"}
    assert sum("fetching bfcl-eval" in err for _, err in outputs) == 1


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIQBENCH_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.setenv("SHIQBENCH_CACHE", "relative")
    assert cache_dir() == Path.cwd() / "relative"
    monkeypatch.setenv("SHIQBENCH_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert cache_dir() == Path("/somewhere/shiqbench")


def test_importing_is_light() -> None:
    code = "import sys, shiqbench.base.wheels, shiqbench.models.embedded, shiqbench.commands.doctor\n"
    code += "print([m for m in ('torch', 'transformers', 'rich', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_a_killed_process_left_is_removed(own_cache: Path, made: Made) -> None:
    wheel = made({"a.txt": "a"})
    stale = own_cache / "wheels" / ".made-1.0.99999.tmp" / ".pip"
    stale.mkdir(parents=True)
    (stale / "half").touch()
    folder = fetch(wheel, report=quiet)
    assert {path.name for path in folder.parent.iterdir()} <= {"made-1.0", ".made-1.0.lock"}


def test_the_settings_of_a_users_pip_do_no_harm(own_cache: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    assert (fetch(made({"a.txt": "a"}), report=quiet) / "a.txt").read_text() == "a"


# -- what makes a cached copy invalid -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_damaged_copy_is_fetched_again(own_cache: Path, made: Made) -> None:
    wheel = made({"pkg/a.txt": "aaaa", "pkg/b.txt": "b"})
    folder = fetch(wheel, report=quiet)
    marker = folder / MARKER
    for damage in ("absent", "other", "garbage", "list", "missing file", "truncated file"):
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
        fetch(wheel, report=quiet)
        assert (folder / "pkg" / "a.txt").read_text() == "aaaa", damage
        assert (folder / "pkg" / "b.txt").read_text() == "b", damage
        assert not (folder / "stray.txt").exists(), damage


@pytest.mark.slow
def test_a_new_pin_replaces_the_old_copy(own_cache: Path, made: Made) -> None:
    for content in ("old", "new"):
        folder = fetch(made({"a.txt": content}), report=quiet)
        assert (folder / "a.txt").read_text() == content


# -- errors: one line, what, where, what to do --------------------------------------------------------------


def test_a_wrong_hash_names_both_and_leaves_nothing(own_cache: Path, made: Made) -> None:
    wheel = made({"a.txt": "a"})
    with pytest.raises(AssetError) as caught:
        fetch(replace(wheel, sha256="f" * 64), report=quiet)
    line = caught.value.line()
    assert f"made==1.0 is not the pinned file: sha256 {wheel.sha256[:12]}, expected ffffffffffff" in line
    assert "do not use it" in line
    assert "\n" not in line
    assert caught.value.exit_code is ExitCode.USAGE
    assert left_over(own_cache) == []


def test_no_registry(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AssetError) as caught:
        fetch(BFCL_V3, report=quiet)
    line = caught.value.line()
    assert line.startswith("pip could not reach a registry to fetch bfcl-eval==2025.7.17 (pip said: Could not find")
    assert line.endswith("run the same command again")
    assert left_over(own_cache) == []


@pytest.mark.usefixtures("own_cache", "made")
def test_a_registry_without_the_wheel() -> None:
    with pytest.raises(AssetError, match=r"could not reach a registry that has bfcl-eval==2025\.7\.17"):
        fetch(BFCL_V3, report=quiet)


@pytest.mark.usefixtures("own_cache", "made")
def test_pip_in_the_working_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('shadow')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssetError, match="pip said: Could not find"):
        fetch(BFCL_V3, report=quiet)


@pytest.mark.usefixtures("own_cache")
def test_no_pip_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "has_pip", lambda: False)
    with pytest.raises(AssetError, match=r"has none \(.*python.*\); run `.*-m ensurepip` or `uv pip install pip`"):
        fetch(BFCL_V3, report=quiet)


def test_looking_for_pip_leaves_setuptools_whole() -> None:
    code = "import distutils.core; from shiqbench.base.wheels import has_pip; assert has_pip(); import setuptools"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit('ERROR: OSError: [Errno 28] No space left on device')", "disk is full"),
        ("sys.exit('ERROR: refused\\nnoise')", "pip said: refused"),
        ("sys.exit(3)", "could not install bfcl-eval==2025.7.17 (pip said: nothing)"),
    ],
)
def test_what_pip_says_becomes_one_line(own_cache: Path, fake_pip: FakePip, code: str, expected: str) -> None:
    caller = f"import sys\ntry:\n    exec({FETCH!r})\nexcept ValueError as error:\n    sys.exit(error.line())"
    done = subprocess.run(
        [sys.executable, "-c", caller],
        env=fake_pip(f"import sys; {code}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert expected in done.stderr.splitlines()[-1]
    assert left_over(own_cache) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_sealing(own_cache: Path, made: Made, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(folder: Path, identity: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(wheels, "seal", full)
    with pytest.raises(AssetError, match=r"the disk is full \(.*cache\); free some space"):
        fetch(made({"a.txt": "a"}), report=quiet)
    assert left_over(own_cache) == []


def test_an_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match=r"cannot write the cache folder: .*; set SHIQBENCH_CACHE"):
        fetch(BFCL_V3, report=quiet)


def test_a_wheel_that_would_leave_its_folder(own_cache: Path, made: Made) -> None:
    with pytest.raises(AssetError, match="could not install made"):
        fetch(made({"good.txt": "a", "a/../../../evil": "e"}), report=quiet)
    assert left_over(own_cache) == []
    assert not list(own_cache.parent.rglob("evil"))


def test_an_interrupt_kills_pip_and_leaves_nothing(own_cache: Path, tmp_path: Path, fake_pip: FakePip) -> None:
    started = tmp_path / "started"
    code = "import os, pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    # A background job of a shell ignores the signal, and so would its children.
    heeded = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    words = [sys.executable, "-c", heeded + FETCH]
    process = subprocess.Popen(words, env=fake_pip(code), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert left_over(own_cache) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.usefixtures("own_cache")
def test_a_terminal_shows_what_pip_shows_and_a_file_does_not(fake_pip: FakePip) -> None:
    import pty

    environment = fake_pip("print('the bar of pip', flush=True); raise SystemExit(1)")
    main, side = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", FETCH], env=environment, stderr=side, stdout=side)
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
    assert b"fetching bfcl-eval==2025.7.17 (1.7 MB)" in shown
    assert b"the bar of pip" in shown
    done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, check=False)
    assert b"fetching bfcl-eval==2025.7.17 (1.7 MB)" in done.stderr
    assert b"the bar of pip" not in done.stdout + done.stderr
