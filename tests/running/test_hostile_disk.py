"""Disks that are full, become read-only, lose files or change bytes: one clear error line, or the same result.

Tests that mount a disk are skipped without the permission to mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shiqbench_tasks.mdp import train as mdp_train
from support import TOY, small_matrix, what_counts

from shiqbench.base.errors import CorruptCellError
from shiqbench.commands.app import main
from shiqbench.running import evaluation, train_cell
from shiqbench.store.cell import is_done, mark_done

if TYPE_CHECKING:
    from collections.abc import Iterator

MATRIX = small_matrix("base", "shiq")
MDP = ["--task", "mdp", "--preset", "smoke", "--set", "train.updates=60", "--set", "train.save_every=20"]
TOYS = ["--task", "toy", "--plugin", str(TOY), "--set", "train.save_every=2"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for all tests of this file, so that the reference is computed once unless a test damages it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SHIQBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        yield folder


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[None]:
    _mount(*words, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only for files that are opened later; files that are open for writing stay writable."""
    with mounted(folder, "--bind", str(folder)):
        _mount("-o", "remount,bind,ro", str(folder))
        yield


def _mount(*words: str) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def leave_free(disk: Path, size: int) -> Path:
    """Fill a disk until ``size`` bytes are free; return the file that fills it."""
    facts = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, facts.f_bavail * facts.f_bsize - size)
    return ballast


Said = tuple[int, str]
Finished = dict[str, tuple[list[object], Path]]  # name -> command, and the results folder that it has made


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """Run a command in this process; return its exit code and its output."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    return int(ended.value.code or 0), "".join(capsys.readouterr())


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]


def start_matrix(tmp_path: Path, results: Path) -> subprocess.Popen[str]:
    file = tmp_path / "m.toml"
    file.write_text(MATRIX)
    words = [sys.executable, "-m", "shiqbench", "matrix", str(file), "--results", str(results)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def matrix(tmp_path: Path, results: Path) -> Said:
    process = start_matrix(tmp_path, results)
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


# -- full ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["toy", "mdp"])
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    kind: str, disk: Path, tiny_model: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--algo", "shiq", *([*TOYS, "--model", tiny_model] if kind == "toy" else MDP), "--results"]
    assert ask(capsys, *words, tmp_path / "calm")[0] == 0
    wanted = what_counts(tmp_path / "calm")
    needed = sum(-(-f.stat().st_size // 4096) * 4096 for f in (tmp_path / "calm").rglob("*") if f.is_file())
    full = 0
    for free in range(0, needed, max(4096, needed // 12)):
        results = disk / f"results-{free}"
        ballast = leave_free(disk, free)
        code, said = ask(capsys, *words, results)
        full += code
        if code:
            (line,) = errors(said)
            assert (code, "no space left" in line, str(disk) in line, "free some" in line) == (1, True, True, True), (
                said
            )
        ballast.unlink()
        assert ask(capsys, *words, results)[0] == 0
        assert what_counts(results) == wanted
        assert not [f for f in results.rglob("*") if f.name == "error.json" or f.name.endswith(".tmp")]
        shutil.rmtree(results)
    assert full > 4


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 40_000, 120_000])
def test_a_matrix_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    free: int, disk: Path, finished: Finished, tmp_path: Path
) -> None:
    results = disk / "results"
    ballast = leave_free(disk, free)
    code, said = matrix(tmp_path, results)
    lines = [line for line in said.splitlines() if "no space left" in line]
    assert code == 1, said
    assert lines, said
    assert all(str(disk) in line and "free some" in line for line in lines), said
    assert "disk_full" in said
    assert "Traceback" not in said
    ballast.unlink()
    code, said = matrix(tmp_path, results)
    assert code == 0, said
    assert what_counts(results) == what_counts(finished["matrix"][1])


@pytest.mark.slow
def test_a_full_cache_is_named(
    disk: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHIQBENCH_CACHE", str(disk))
    words = ["run", "--algo", "shiq", *TOYS, "--model", tiny_model, "--results", tmp_path / "results"]
    for free in (0, 4096, 12288):
        ballast = leave_free(disk, free)
        code, said = ask(capsys, *words)
        (line,) = errors(said)
        assert (code, "no space left" in line, f"{disk}/reference" in line) == (1, True, True), said
        ballast.unlink()
    assert ask(capsys, *words)[0] == 0


# -- read-only ----------------------------------------------------------------------------------------------


def test_a_read_only_results_folder_is_refused_before_anything_is_computed(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.toml"
    file.write_text(MATRIX)
    with read_only(disk):
        for words in (["run", "--algo", "shiq", *MDP], ["matrix", file]):
            code, said = ask(capsys, *words, "--results", disk / "results")
            (line,) = errors(said)
            assert (code, "Read-only file system" in line, str(disk) in line) == (2, True, True), said
    assert not list(disk.iterdir())


def test_what_is_done_is_read_from_a_read_only_folder(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--algo", "shiq", *MDP, "--results", disk]
    assert ask(capsys, *words)[0] == 0
    with read_only(disk):
        code, said = ask(capsys, *words)
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("where", ["weights", "records"])
def test_a_folder_that_becomes_read_only_in_a_run(
    where: str,
    disk: Path,
    tiny_model: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module: Any = train_cell if where == "weights" else evaluation
    name = "save_weights" if where == "weights" else "write_records"
    words = ["run", "--algo", "shiq", *TOYS, "--model", tiny_model, "--results"]
    assert ask(capsys, *words, tmp_path / "calm")[0] == 0
    write = getattr(module, name)

    def shut(*arguments: Any) -> None:
        with read_only(disk):
            write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, shut)
        code, said = ask(capsys, *words, disk)
    (line,) = errors(said)
    assert (code, "Read-only file system" in line, str(disk) in line, "same command" in line) == (1, True, True, True)
    assert ask(capsys, *words, disk)[0] == 0
    assert what_counts(disk) == what_counts(tmp_path / "calm")


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_in_a_matrix(disk: Path, finished: Finished, tmp_path: Path) -> None:
    process = start_matrix(tmp_path, disk)
    until = time.monotonic() + 120
    while not list(disk.glob("mdp/shiq/*/checkpoint/state.pt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)
    with read_only(disk):
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    lines = [line for line in (out + err).splitlines() if "Read-only file system" in line]
    assert lines, out + err
    assert all(str(disk) in line and "same command" in line for line in lines), lines
    assert "Traceback" not in out + err
    code, said = matrix(tmp_path, disk)
    assert code == 0, said
    assert what_counts(disk) == what_counts(finished["matrix"][1])


# -- lost files and changed bytes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny_model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return each command and its results folder: a run of a language model, an exact run, a matrix."""
    file = tmp_path_factory.mktemp("file") / "m.toml"
    file.write_text(MATRIX)
    made: Finished = {}
    commands: dict[str, list[object]] = {
        "toy": ["run", "--algo", "dpo", *TOYS, "--model", tiny_model],
        "mdp": ["run", "--algo", "shiq", *MDP],
        "matrix": ["matrix", file],
    }
    for name, words in commands.items():
        results = tmp_path_factory.mktemp(name)
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--results", str(results)])
        assert not ended.value.code
        made[name] = (words, results)
    return made


def flip(file: Path, position: int, mask: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= mask
    file.write_bytes(content)


def numbers(results: Path) -> dict[str, Any]:
    return {n: v for n, v in what_counts(results).items() if n.endswith(("metrics.json", ".safetensors", ".jsonl"))}


def settle(
    capsys: pytest.CaptureFixture[str], words: list[object], results: Path, wanted: dict[str, Any], named: Path
) -> Said:
    """Run the same command again: expect one error line that names the folder, or the same numbers."""
    code, said = ask(capsys, *words, "--results", results)
    if code == 0:
        assert numbers(results) == wanted
        return code, said
    assert code == 1, said
    lines = [line for line in said.splitlines() if str(named) in line and "; " in line]
    assert lines, said
    assert len(errors(said)) <= 1, said
    assert "Traceback" not in said
    return code, said


OF_A_CELL = ("DONE", "config.json", "train.jsonl", "manifest.json", "checkpoint/model.safetensors")
OF_AN_EVALUATION = ("DONE", "config.json", "manifest.json", "records.parquet", "metrics.json")
FILES = [*OF_A_CELL, *(f"eval/*/{name}" for name in OF_AN_EVALUATION)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["toy", "mdp", "matrix"])
@pytest.mark.parametrize("name", FILES)
def test_a_finished_cell_that_was_damaged_is_an_error_and_never_another_number(
    kind: str,
    name: str,
    finished: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, clean = finished[kind]
    (file, *_) = sorted(clean.glob(f"*/[ds]*/*/{name}"))  # a cell of dpo or shiq
    inside, wanted = file.relative_to(clean), numbers(clean)
    size = file.stat().st_size
    damages = [(size // 2, 0x01), (size // 2, 0x80), (size // 2 + 1, 0x10), (0, 0x01), (size - 1, 0x01), None]
    for number, damage in enumerate(damages):
        if damage is None and name.endswith("DONE"):
            continue  # without DONE the folder is not finished
        results = shutil.copytree(clean, tmp_path / str(number))
        (results / inside).unlink() if damage is None else flip(results / inside, *damage)
        code, said = settle(
            capsys, words, results, wanted, (results / inside).parents[inside.parts[-2] == "checkpoint"]
        )
        assert code == 1, said
        assert "delete" in said


def test_no_byte_of_done_can_change_unnoticed(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    mark_done(tmp_path, [tmp_path / "metrics.json"])
    size = (tmp_path / "DONE").stat().st_size
    for position in range(size):
        for mask in (0x01, 0x10, 0x20, 0x80):
            flip(tmp_path / "DONE", position, mask)
            with pytest.raises(CorruptCellError):
                is_done(tmp_path)
            flip(tmp_path / "DONE", position, mask)
    assert is_done(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint/state.pt", "train.jsonl", "eval/*/.journal.jsonl"])
@pytest.mark.parametrize("kind", ["toy", "mdp"])
def test_an_interrupted_cell_that_was_damaged_gives_the_same_numbers_or_an_error(
    kind: str,
    name: str,
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "journal" in name and kind == "mdp":
        return
    words, clean = finished[kind]
    struck = tmp_path / "struck"
    module: Any = evaluation if "journal" in name else train_cell if kind == "toy" else mdp_train
    last = "mark_done" if "journal" in name else "save_weights" if kind == "toy" else "save_file"

    mark = mark_done

    def stop(*arguments: Any) -> None:
        if last == "mark_done" and "/dpo/" not in str(arguments[0]):  # the evaluation of the untrained model
            mark(*arguments)
            return
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, last, stop)
        assert ask(capsys, *words, "--results", struck)[0] == 130
    (file,) = struck.glob(f"*/*/*/{name}")
    inside, size, wanted = file.relative_to(struck), file.stat().st_size, numbers(clean)
    codes = set()
    for position in sorted({size * part // 24 for part in range(24)} | {size // 2, size - 1}):
        results = shutil.copytree(struck, tmp_path / str(position))
        flip(results / inside, position, 0x04)
        code, said = settle(capsys, words, results, wanted, results / "/".join(inside.parts[:3]))
        assert "delete" in said or not code
        codes.add(code)
        shutil.rmtree(results)
    if name != "train.jsonl":
        results = shutil.copytree(struck, tmp_path / "lost")
        (results / inside).unlink()
        assert settle(capsys, words, results, wanted, results)[0] == 0
    assert codes == {0} if "journal" in name else 1 in codes


@pytest.mark.slow
def test_a_damaged_reference_cache_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[object] = ["run", "--algo", "dpo", *TOYS, "--model", tiny_model]
    clean = tmp_path / "clean"
    monkeypatch.setenv("SHIQBENCH_CACHE", str(clean))
    assert ask(capsys, *words, "--results", tmp_path / "calm")[0] == 0
    (file,) = (clean / "reference").glob("*.sqlite")
    wanted, size = numbers(tmp_path / "calm"), file.stat().st_size
    codes = []
    for part in range(24):
        cache = shutil.copytree(clean, tmp_path / f"cache-{part}")
        flip(cache / "reference" / file.name, size * part // 24 + 7 * part, 0x04)
        monkeypatch.setenv("SHIQBENCH_CACHE", str(cache))
        codes.append(settle(capsys, words, tmp_path / f"results-{part}", wanted, cache / "reference")[0])
    assert set(codes) == {0, 1}  # some bytes do not matter
