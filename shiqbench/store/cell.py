"""A cell on disk: its folder, its DONE file, its lock and its error file."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from shiqbench.base.causes import as_disk_error, error_facts
from shiqbench.base.digest import file_sha256, short
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMA = 2  # of config.json; part of every digest
DONE = "DONE"
MOST = 5  # cells that an error lists
LOCK = ".lock"
CHECKPOINT = "checkpoint"
BEST = "best"  # one folder for each update whose weights were best on validation
SMALL = 16_000_000  # files up to this size are verified when DONE is read, larger files when they are loaded


def mark_done(folder: Path, files: Iterable[Path]) -> None:
    """Write DONE as the last file: it lists the sha256 and size of every file of the folder."""
    entries = {str(f.relative_to(folder)): {"sha256": file_sha256(f), "bytes": f.stat().st_size} for f in sorted(files)}
    write_json(folder / DONE, {"files": entries})
    (folder / "error.json").unlink(missing_ok=True)


def is_done(folder: Path) -> bool:
    """Whether the folder is finished.

    Raises:
        CorruptCellError: DONE exists, and a file is missing or differs; no file is repaired silently.
    """
    try:
        files = _promised(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    for name, (sha256, size) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise corrupt(folder, f"{name} is missing or has another size")
        if size <= SMALL and file_sha256(path) != sha256:
            raise corrupt(folder, f"{name} has another sha256")
    return True


def _promised(folder: Path, part: str = "files") -> dict[str, tuple[str, int]]:
    """Return sha256 and size by name of every file that DONE lists in this part: ``files`` or ``cleaned``.

    Raises:
        CorruptCellError: DONE exists and cannot be read.
    """
    try:
        done = read_json(folder / DONE)
        entries = done["files"] if part == "files" else done.get(part, {})
        return {name: (entry["sha256"], entry["bytes"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(folder, "DONE cannot be read") from error


def mark_cleaned(folder: Path) -> None:
    """Record in DONE that the weights of a finished cell are removed; call this before you remove them.

    Their sha256 and sizes stay in DONE, under ``cleaned``.
    """
    done = read_json(folder / DONE)
    gone = {name: entry for name, entry in done["files"].items() if name.startswith(f"{CHECKPOINT}/")}
    if gone:
        files = {name: entry for name, entry in done["files"].items() if name not in gone}
        write_json(folder / DONE, {"files": files, "cleaned": gone})


def is_cleaned(folder: Path) -> bool:
    """Whether the folder is a finished cell whose weights were cleaned; even remaining files may not be used."""
    return (folder / DONE).is_file() and bool(_promised(folder, "cleaned"))


def check_not_cleaned(folder: Path) -> None:
    """Refuse a cell whose weights were cleaned.

    Raises:
        ConfigError: The weights were cleaned.
    """
    if is_cleaned(folder):
        raise ConfigError("its weights were cleaned", where=str(folder), do="delete that folder to train it again")


def verified_weights(folder: Path) -> tuple[Path, str]:
    """Return the folder of the final weights of a finished training, and their sha256, which is checked against DONE.

    Raises:
        ConfigError: The weights were cleaned.
        CorruptCellError: The weights do not match DONE.
    """
    check_not_cleaned(folder)
    return folder / CHECKPOINT, verified(folder, f"{CHECKPOINT}/model.safetensors")


def recorded(folder: Path, name: str) -> str | None:
    """Return the sha256 that DONE lists for a file, cleaned or not; None if DONE does not list the file.

    Raises:
        CorruptCellError: DONE cannot be read.
    """
    return {**_promised(folder), **_promised(folder, "cleaned")}.get(name, (None, 0))[0]


def verified(folder: Path, name: str) -> str:
    """Return the sha256 of one file of a finished folder, checked against DONE for any file size.

    Raises:
        CorruptCellError: The sha256 differs from DONE.
    """
    wanted = recorded(folder, name)
    found = file_sha256(folder / name)
    if found != wanted:
        raise corrupt(folder, f"{name} has another sha256")
    return found


def corrupt(folder: Path, what: str) -> CorruptCellError:
    """Return the error for a folder whose content has changed since it was written."""
    return CorruptCellError(what, where=str(folder), do="delete that folder to compute it again")


def check_writable(results: Path) -> None:
    """Refuse a results folder that cannot be written; no file is left behind.

    Raises:
        ConfigError: It is a file, or it (its nearest existing parent if it does not exist) cannot be written.
    """
    at = results.absolute()
    while not at.exists() and at.parent != at:
        at = at.parent
    if not at.is_dir():
        raise ConfigError("not a folder", where=f"--results {at}", do="give a folder")
    probe = at / f".shiqbench-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write: {error.strerror}",
            where=f"--results {results}",
            do="give a folder that you may write to",
        ) from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a cell while working on it; a second process reports the lock's holder and waits."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    holder = folder / ".holder.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for {folder}, held by {_holder(holder)}", file=sys.stderr)  # noqa: T201
        lock.acquire()
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)[:200]}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether another process works on a cell now; does not wait."""
    path = folder / LOCK
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _holder(path: Path) -> str:
    try:
        who = read_json(path)
    except (OSError, ValueError):
        return "another process"
    return f"process {who['pid']} ({who['command']})"


def locate(text: str, results: Path, *, evaluations: bool = False) -> Path:
    """Return the cell folder, finished or not, for a path or the first digits of a cell's digest.

    Args:
        text: A path, ``DIGITS``, ``algorithm/DIGITS`` or ``task/algorithm/DIGITS``.
        results: Results folder.
        evaluations: Whether the digits may be those of an evaluation, if they are those of no cell.

    Raises:
        ConfigError: No cell matches, or several match.
    """
    path = Path(text).expanduser()
    found = [path] if (path / "config.json").is_file() else _by_digits(text, results, "*/*/*")
    if not found and evaluations and "/" not in text:
        found = _by_digits(text, results, "*/*/*/eval/*")
    if len(found) != 1:
        kind = "cells or evaluations" if evaluations else "cells"
        told = f", such as {', '.join('/'.join(f.parts[-2:]) for f in found[:MOST])}" if found else ""
        raise ConfigError(
            f"{len(found) or 'no'} {kind} match {text!r}",
            where=str(results),
            do=f"give a cell's folder or more digits{told}",
        )
    return found[0]


def _by_digits(text: str, results: Path, pattern: str) -> list[Path]:
    """The folders of this pattern whose last names are those of the text; the very last name may be cut off."""
    *names, digits = text.split("/")
    levels = pattern.split("/")
    wanted = [escape(name) for name in names] + [f"{escape(short(digits))}*"]
    found = results.glob("/".join(levels[: -len(wanted)] + wanted)) if len(wanted) <= len(levels) and all(names) else ()
    return sorted(f for f in found if (f / "config.json").is_file())


def find_cell(text: str, results: Path) -> Path:
    """Return the training folder that ``cell:...`` names by a path or the first digits of a digest.

    Raises:
        ConfigError: No cell matches, several match, or the cell is not finished.
    """
    found = locate(text, results)
    if not is_done(found):
        raise ConfigError("that cell is not finished", where=str(found), do="run it first")
    return found


def write_error(folder: Path, error: BaseException) -> None:
    """Write error.json into a failed cell: what, where, what to do, and the cause in one word."""
    with suppress(OSError):  # the disk may refuse this file too; the caller reports the same error
        write_json(folder / "error.json", error_facts(error))


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Lock a cell; an error is written to its error.json, and a disk failure becomes a one-line error.

    Raises:
        DiskError: The disk is full, is read-only, or fails.
    """
    try:
        with lock(folder):
            yield
    except Exception as error:
        said = as_disk_error(error, folder)
        write_error(folder, said)
        if said is error:
            raise
        raise said from error
