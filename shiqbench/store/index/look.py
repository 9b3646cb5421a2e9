"""Scan a results folder, and read the folders that have changed since the last scan.

The results of reading are kept in the user's cache folder and are valid until the DONE file changes. A table of
100,000 cells therefore needs only a check of their DONE files. Unfinished folders are checked each time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from typing import TYPE_CHECKING

from pydantic_core import from_json

from shiqbench.store.cell import is_held
from shiqbench.store.index.entries import CellEntry, EvaluationEntry, Index, Text, Unfinished
from shiqbench.store.index.kept import database_of, kept, stamp
from shiqbench.store.index.reading import CONFIG, read_all, read_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ERROR = "error.json"


def read_index(results: Path, task: str | None = None, progress: Callable[[int, int], None] | None = None) -> Index:
    """Scan every cell of a results folder.

    Args:
        results: Results folder.
        task: If given, only cells of this task are scanned.
        progress: Receives (number read, number to read) if files must be read.
    """
    try:
        return _read(results, task, progress)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # the database is damaged in the middle
        database_of(results).unlink(missing_ok=True)
        return _read(results, task, progress)


def _read(results: Path, task: str | None, progress: Callable[[int, int], None] | None) -> Index:
    index = Index(results)
    found = list(_walk(results, task, index.unfinished))
    with kept(results) as database:
        known = dict(database.execute("SELECT folder, stamp FROM entries"))
        new = [(folder, stamp) for folder, stamp in found if known.get(folder) != stamp]
        done = 0
        for part in read_all(str(results), new):
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", part.entries)
            database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", part.texts.items())
            changed = [(f,) for f, *_ in part.entries] + [(u.folder,) for u in part.corrupt]
            database.executemany("DELETE FROM derived WHERE folder = ?", changed)
            database.executemany("DELETE FROM entries WHERE folder = ?", [(u.folder,) for u in part.corrupt])
            database.commit()  # another reader then waits only for one part
            index.unfinished += part.corrupt
            done += len(part.entries) + len(part.corrupt)
            if progress is not None:
                progress(done, len(new))
        there = {folder for folder, _ in found}
        gone = [(f,) for f in known if f not in there and (task is None or f.startswith(f"{task}/"))]
        for table in ("entries", "derived"):
            database.executemany(f"DELETE FROM {table} WHERE folder = ?", gone)  # noqa: S608 - two known names
        database.commit()
        _fill(index, database, there)
    return index


def read_evaluation(folder: Path) -> EvaluationEntry:
    """Read a finished evaluation and its cell, wherever they are. The folders of its entries are full paths.

    Raises:
        CorruptCellError: A file of one of the two folders does not match DONE.
    """
    at, of = str(folder.resolve()), str(folder.resolve().parent.parent)
    (of_cell, recipe), (facts, setting) = read_folder(of), read_folder(at)
    cell = CellEntry(of, recipe=_text(recipe), **of_cell)
    return EvaluationEntry(at, cell, _text(setting), **facts)


def _text(text: str) -> Text:
    return Text(hashlib.sha256(text.encode()).hexdigest(), text)


def _walk(results: Path, task: str | None, unfinished: list[Unfinished]) -> Iterator[tuple[str, str]]:
    """Yield folders with a DONE file, and the stamp of that file; cells come before their evaluations."""
    root = str(results)
    for of_task in [task] if task is not None else _folders(root):
        for algorithm in _folders(f"{root}/{of_task}"):
            for cell in _folders(f"{root}/{of_task}/{algorithm}"):
                at = f"{of_task}/{algorithm}/{cell}"
                for folder in (at, *(f"{at}/eval/{name}" for name in _folders(f"{root}/{at}/eval"))):
                    try:
                        yield folder, stamp(f"{root}/{folder}")
                    except OSError:
                        unfinished += _unfinished(results, folder)


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unfinished(results: Path, folder: str) -> list[Unfinished]:
    at = results / folder
    if is_held(at):
        return [Unfinished(folder, "running")]
    try:
        content = (at / ERROR).read_bytes()
    except OSError:  # it did not fail
        # A results folder may contain unrelated folders; a cell has its recipe from the start.
        partial = "/eval/" in folder or (at / CONFIG).is_file()
        return [Unfinished(folder, "partial")] if partial else []
    try:
        error = from_json(content)
        return [Unfinished(folder, error.get("cause", "other"), error["what"])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Unfinished(folder, "corrupt", f"{ERROR} cannot be read")]


def _fill(index: Index, database: sqlite3.Connection, there: set[str]) -> None:
    texts = {key: Text(key, text) for key, text in database.execute("SELECT key, text FROM texts")}
    evaluations = []
    for folder, facts in database.execute("SELECT folder, facts FROM entries ORDER BY folder"):
        if folder not in there:
            continue
        values = from_json(facts)
        text = texts[values.pop("text")]
        if "/eval/" in folder:
            evaluations.append((folder, text, values))
        else:
            index.cells[folder] = CellEntry(folder, recipe=text, **values)
    for folder, text, values in evaluations:
        cell = index.cells.get(folder.partition("/eval/")[0])
        if cell is not None:
            index.evaluations[folder] = EvaluationEntry(folder, cell, text, **values)
