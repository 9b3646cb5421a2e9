"""The database in the user's cache folder that keeps what was read from a results folder, one per folder.

What was read from a finished folder is valid until its DONE file changes. Everything can be read again from the
results, so a database that is damaged or has another version is replaced, and without a cache folder it is in memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from shiqbench.base.cache import cache_dir
from shiqbench.base.errors import CorruptCellError
from shiqbench.store.cell import DONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

VERSION = 6  # of the database
PART = 500  # folders that are written in one transaction, so that other processes wait only briefly


def stamp(folder: str) -> str:
    """Return what changes whenever the DONE file of a folder is written.

    Raises:
        OSError: The folder is not finished.
    """
    done = os.stat(f"{folder}/{DONE}")  # noqa: PTH116 - called 200,000 times
    return f"{done.st_mtime_ns} {done.st_size} {done.st_ino}"


def derived(
    results: Path, folders: Sequence[str], what: str, make: Callable[[str], bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield what ``make`` makes of finished folders; it is kept, and made again only after DONE has changed.

    Folders that are damaged or no longer there are left out.

    Args:
        results: Results folder.
        folders: Folders below it.
        what: Name of what is made; it changes with the way in which it is made.
        make: Function of a folder; it checks what it reads against DONE.
    """
    new, made = [], []
    with kept(results) as database:
        for folder in folders:
            with suppress(OSError):
                now = stamp(f"{results}/{folder}")
                found = _found(database, folder, what)
                if found is not None and found[0] == now:
                    yield folder, found[1]
                else:
                    new.append((folder, now))
        for number, (folder, now) in enumerate(new, start=1):
            with suppress(CorruptCellError):
                made.append((folder, what, now, make(folder)))
                yield folder, made[-1][-1]
            if len(made) == PART or number == len(new):
                with suppress(sqlite3.Error), database:  # a cache that cannot be written costs only time
                    database.executemany("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", made)
                made = []


def _found(database: sqlite3.Connection, folder: str, what: str) -> tuple[str, bytes] | None:
    try:
        row = database.execute("SELECT stamp, content FROM derived WHERE folder = ? AND what = ?", (folder, what))
        found: tuple[str, bytes] | None = row.fetchone()
    except sqlite3.Error:  # damaged in the middle: the next index replaces it
        return None
    return found


@contextmanager
def kept(results: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a results folder; it is in memory if the cache folder cannot be written."""
    path = database_of(results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = _opened(path)
    except (OSError, sqlite3.OperationalError):
        database = _opened(None)
    except sqlite3.DatabaseError:
        path.unlink()
        database = _opened(path)
    with closing(database):
        yield database


def database_of(results: Path) -> Path:
    """Return the file of the database of a results folder."""
    name = hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:16]
    return cache_dir() / "index" / f"{name}.sqlite"


def _opened(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:" if path is None else path, timeout=60)
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            database.executescript(
                "DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS texts; DROP TABLE IF EXISTS derived;"
                "CREATE TABLE entries (folder TEXT PRIMARY KEY, stamp TEXT, facts TEXT) WITHOUT ROWID;"
                "CREATE TABLE texts (key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;"
                "CREATE TABLE derived (folder TEXT, what TEXT, stamp TEXT, content BLOB, PRIMARY KEY (folder, what));"
                f"PRAGMA user_version = {VERSION};"
            )
    except sqlite3.Error:
        database.close()
        raise
    return database
