"""``shiqbench clean``: finds what can be removed from a results folder."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.files import read_json, writer_of
from shiqbench.commands.removal import (
    Found,
    InUseError,
    Item,
    Kept,
    Removal,
    discard,
    erase,
    is_left_over,
    size_of,
    taken,
)
from shiqbench.matrices.live import LIVE, runs, states
from shiqbench.store.cell import BEST, CHECKPOINT, DONE, LOCK, is_cleaned, is_done, is_held, mark_cleaned
from shiqbench.store.folder import refuse_other, results_folder
from shiqbench.training.snapshots import FOLDER as SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = re.compile(r"[0-9a-f]{12}")  # name of the folder of a cell or an evaluation
KINDS = {CHECKPOINT: "weights", SNAPSHOTS: "snapshots", BEST: "best weights"}  # folders of weights in a cell
STAY = (LOCK, ".holder.json")  # hidden files that must be kept


@dataclass(frozen=True)
class Wanted:
    """What the user selected.

    Attributes:
        partial: Unfinished cells and evaluations, and temporary files of killed processes.
        checkpoints: Weights and snapshots of finished cells that the results folder does not need any more.
        all_checkpoints: Weights and snapshots of all finished cells.
    """

    partial: bool = False
    checkpoints: bool = False
    all_checkpoints: bool = False


@dataclass(frozen=True)
class Cell:
    """Folders of a cell and of its evaluations.

    Attributes:
        path: Folder of the cell.
        evaluations: Folders of its evaluations, below ``eval/``.
    """

    path: Path
    evaluations: tuple[Path, ...]

    @property
    def label(self) -> str:
        """Name of the cell in messages."""
        return f"{self.path.parent.name}/{self.path.name}"

    def used(self) -> bool:
        """Whether a process works on the cell or on one of its evaluations."""
        return any(_held(folder) for folder in (self.path, *self.evaluations))


def find(results: Path, wanted: Wanted) -> Found:
    """Find everything that was selected; this writes nothing.

    Raises:
        ConfigError: Nothing is selected, or the results folder does not exist.
    """
    if wanted == Wanted():
        options = "--partial, --checkpoints or --all-checkpoints"
        raise ConfigError("nothing is chosen", where="clean", do=f"give one or more of {options}")
    found = Found()
    cells = list(_cells(results_folder(results), found.kept))
    if all(c.path.parent.name == "eval" for c in cells):  # none, or evaluations: inside a results folder
        refuse_other(results, by_task=False)
    if wanted.partial:
        found.add(_partial(results, cells))
    if wanted.checkpoints or wanted.all_checkpoints:
        found.add(_weights(results, cells, everything=wanted.all_checkpoints))
    return found


def as_json(found: Found, outcome: Removal | None) -> dict[str, Any]:
    """Return what was found and, after a removal, its result."""
    items = [{"kind": i.kind, "path": str(i.path), "bytes": i.size, "why": i.why} for i in found.items]
    kept = [*found.kept, *(outcome.kept if outcome else [])]
    return {
        "found": items,
        "bytes": found.size,
        "kept": [{"path": str(k.path), "why": k.why} for k in kept],
        "removed": None if outcome is None else [str(i.path) for i in outcome.removed],
        "removed_bytes": None if outcome is None else sum(i.size for i in outcome.removed),
        "failed": [{"path": str(f.path), "why": f.why} for f in (outcome.failed if outcome else [])],
    }


# -- folders ------------------------------------------------------------------------------------------------


def _cells(results: Path, links: list[Kept]) -> Iterator[Cell]:
    """Yield every folder that a run has made for a cell; links are not followed."""
    for task in _folders(results, links):
        for algorithm in _folders(task, links):
            for path in _folders(algorithm, links):
                if _is_ours(path):
                    evaluations = tuple(f for f in _folders(path / "eval", links) if _is_ours(f))
                    yield Cell(path, evaluations)


def _is_ours(folder: Path) -> bool:
    """Whether a run made the folder: its name and the files that a run writes first show it. Others are not touched."""
    return bool(NAME.fullmatch(folder.name)) and any((folder / n).is_file() for n in (LOCK, "config.json", DONE))


def _folders(parent: Path, links: list[Kept]) -> list[Path]:
    found = []
    for entry in _entries(parent):
        if entry.is_symlink():
            if entry.is_dir():
                links.append(Kept(Path(entry.path), "a link, which is not followed"))
        elif entry.is_dir() and not entry.name.startswith("."):
            found.append(Path(entry.path))
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda e: e.name)


def _held(folder: Path) -> bool:
    """Whether a process has locked the folder; a lock that cannot be opened counts as locked."""
    try:
        return is_held(folder)
    except OSError:
        return True


# -- what is not finished -----------------------------------------------------------------------------------


def _partial(results: Path, cells: list[Cell]) -> Found:
    found = Found()
    for cell in cells:
        if not (cell.path / DONE).is_file():
            _unfinished_cell(cell, found)
            continue
        for folder in cell.evaluations:
            if (folder / DONE).is_file():
                continue
            if _held(folder):
                found.kept.append(Kept(folder, "a process works on it"))
            else:
                found.items.append(_unfinished(folder, ()))
        _left_over_in_cell(cell, found)
    tasks = _folders(results, [])
    for parent in (results, results / LIVE, *tasks, *(f for task in tasks for f in _folders(task, []))):
        for path in (Path(entry.path) for entry in _entries(parent)):
            if is_left_over(path):
                remove = partial(discard, path)
                found.items.append(Item("temporary", path, size_of(path), "left by a dead process", remove))
    return found


def _unfinished_cell(cell: Cell, found: Found) -> None:
    finished = sum((f / DONE).is_file() for f in cell.evaluations)
    if cell.used():
        found.kept.append(Kept(cell.path, "a process works on it"))
    elif finished:
        found.kept.append(Kept(cell.path, f"not finished, but it has {finished} finished evaluation(s)"))
    else:
        found.items.append(_unfinished(cell.path, cell.evaluations))


def _unfinished(folder: Path, evaluations: tuple[Path, ...]) -> Item:
    why = "failed" if (folder / "error.json").is_file() else "not finished"

    def remove() -> None:
        with taken(folder / LOCK):
            if (folder / DONE).is_file() or any(_held(f) or (f / DONE).is_file() for f in evaluations):
                raise InUseError("a process has begun to use it")
            discard(folder)

    return Item("partial", folder, size_of(folder), why, remove)


def _left_over_in_cell(cell: Cell, found: Found) -> None:
    """Find hidden names in finished folders: temporary files, journals, temporary models and trainings."""
    done = [f for f in cell.evaluations if (f / DONE).is_file()]
    places = [cell.path, cell.path / "eval", *_kept_weights(cell), *done]
    hidden = [Path(e.path) for place in places for e in _entries(place) if e.name.startswith(".")]
    hidden = [path for path in hidden if path.name not in STAY and (writer_of(path) is None or is_left_over(path))]
    if hidden and cell.used():
        found.kept += [Kept(path, "a process works in its cell") for path in hidden]
        return
    for path in hidden:
        found.items.append(Item("temporary", path, size_of(path), "left by a dead process", _in_cell(cell, path)))


def _in_cell(cell: Cell, path: Path) -> Callable[[], None]:
    def remove() -> None:
        with _quiet(cell):
            discard(path)

    return remove


@contextmanager
def _quiet(cell: Cell) -> Iterator[None]:
    """Lock a finished cell; refused while a process works on one of its evaluations."""
    with taken(cell.path / LOCK):
        if any(_held(f) for f in cell.evaluations):
            raise InUseError("a process has begun to use it")
        yield


# -- weights ------------------------------------------------------------------------------------------------


def _weights(results: Path, cells: list[Cell], *, everything: bool) -> Found:
    found = Found()
    at_work = _at_work(results, cells)
    starts = _starts(cells)
    for cell in cells:
        parts = [f for f in _kept_weights(cell) if f.is_dir() or f.is_symlink()]
        if not parts or not (cell.path / DONE).is_file():
            continue
        why = at_work or _broken(cell) or ("" if everything else _needed(cell, starts))
        for part in parts:
            if why or part.is_symlink():
                found.kept.append(Kept(part, why or "a link, which is not followed"))
            else:
                found.items.append(_weight_item(cell, part))
    return found


def _kept_weights(cell: Cell) -> list[Path]:
    return [cell.path / name for name in KINDS]


def _weight_item(cell: Cell, part: Path) -> Item:
    def remove() -> None:
        with _quiet(cell):
            if part.name == CHECKPOINT:
                mark_cleaned(cell.path)
            else:  # they have their own DONE; without it they count as missing
                for done in (part / DONE, *part.glob(f"*/{DONE}")):
                    done.unlink(missing_ok=True)
            erase(part)

    return Item(KINDS[part.name], part, size_of(part), f"of {cell.label}", remove)


def _at_work(results: Path, cells: list[Cell]) -> str:
    """Why no weights can be removed now: a run may need weights of cells that it has not locked."""
    if any(runs(state) for state in states(results)):
        return "a matrix runs in this results folder and may need it"
    busy = next((cell for cell in cells if cell.used()), None)
    return f"a process works on {busy.label} and may need it" if busy else ""


def _broken(cell: Cell) -> str:
    try:
        is_done(cell.path)
    except CorruptCellError as error:
        return error.what
    return ""


def _starts(cells: list[Cell]) -> dict[str, str]:
    """Map the digest of a cell to another cell that starts from its weights."""
    found = {}
    for cell in cells:
        try:
            model = read_json(cell.path / "config.json").get("model")
        except (OSError, ValueError):
            continue
        if isinstance(model, dict) and "cell" in model:
            found[model["cell"]] = cell.label
    return found


def _needed(cell: Cell, starts: dict[str, str]) -> str:
    """Why the results folder may still need the cell's weights; empty if DONE says that they were removed."""
    if is_cleaned(cell.path):
        return ""
    user = starts.get(digest(read_json(cell.path / "config.json")))
    if user:
        return f"{user} starts from it; --all-checkpoints removes it too"
    if not cell.evaluations:
        return "it is not evaluated; --all-checkpoints removes it too"
    unfinished = [f.name for f in cell.evaluations if not (f / DONE).is_file()]
    return f"evaluation {unfinished[0]} is not finished; --all-checkpoints removes it too" if unfinished else ""
