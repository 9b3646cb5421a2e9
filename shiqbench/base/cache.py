"""The cache folder: its location, and folders in it that are either complete or absent."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.base.errors import AssetError
from shiqbench.base.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MARKER = ".shiqbench.json"


def cache_dir() -> Path:
    """Return the folder of all cached assets: ``$SHIQBENCH_CACHE``, or else the user's cache folder."""
    chosen = os.environ.get("SHIQBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("shiqbench", appauthor=False))


def seal(folder: Path, identity: str) -> None:
    """Write the marker that declares a folder complete: its identity, and the size of every file."""
    files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    write_json(folder / MARKER, {"identity": identity, "files": files})


def is_sealed(folder: Path, identity: str) -> bool:
    """Whether a folder was sealed under this identity and still contains every file with its recorded size."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return bool(
            marker["identity"] == identity
            and all((folder / name).stat().st_size == size for name, size in marker["files"].items())
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


@contextmanager
def locked(target: Path, report: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a cached folder, remove leftovers of killed processes, and translate disk errors."""
    import filelock

    with cache_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(target.parent / f".{target.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"waiting for another process that is preparing {target.name}", report)
            lock.acquire()
        try:
            for left in target.parent.glob(f".{target.name}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.release()


@contextmanager
def cache_errors() -> Iterator[None]:
    """Convert disk errors of the cache into :class:`AssetError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full() from error
        raise AssetError(
            f"cannot write the cache folder: {error.strerror or error}",
            where=str(error.filename or cache_dir()),
            do="set SHIQBENCH_CACHE to a folder that you can write",
        ) from error


def disk_full() -> AssetError:
    """Return the error for a full disk."""
    return AssetError(
        "the disk is full",
        where=str(cache_dir()),
        do="free some space or set SHIQBENCH_CACHE to a folder on another disk",
    )


def say(line: str, report: Callable[[str], None] | None) -> None:
    """Send one line to ``report``, or to standard error if it is None."""
    if report is not None:
        report(line)
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
