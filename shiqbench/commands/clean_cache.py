"""What the cache can do without: what can be computed again first, the least recently used of it first."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from shiqbench.base.cache import MARKER, cache_dir
from shiqbench.commands.removal import Found, Item, Kept, as_size, discard, files_below, is_left_over, size_of, taken
from shiqbench.store.cell import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST = "[0-9a-f]{12}"
SEALED = {"rewards": "computed", "models": "download", "wheels": "download"}  # folders of folders with a mark
DATABASES = ("reference", "index")
JUDGED = "judge"


@dataclass(frozen=True)
class Entry:
    """Something in the cache that goes as a whole.

    Attributes:
        path: File or folder.
        kind: ``temporary``, ``computed`` or ``download``.
        lock: What a process holds while it makes it; None where nothing is held.
        companions: Files that belong to it.
    """

    path: Path
    kind: str
    lock: Path | None = None
    companions: tuple[Path, ...] = ()

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return sum(size_of(p) for p in (self.path, *self.companions))

    @cached_property
    def used(self) -> float:
        """When a file of it was last read or written, as far as the file system says; seconds since 1970."""
        found = 0.0
        for file in files_below(self.path):
            try:
                status = file.lstat()
            except FileNotFoundError:
                continue
            found = max(found, status.st_atime, status.st_mtime)
        return found

    def remove(self) -> None:
        """Remove it, unless a process makes it now."""
        with taken(self.lock) if self.lock else nullcontext():
            discard(self.path)
            for path in self.companions:
                path.unlink(missing_ok=True)


def find_cache(limit: int) -> Found:
    """What has to go so that the cache holds no more than so many bytes.

    Only what this program has made is looked at, by names and marks: the folder may hold other things.
    """
    folder = cache_dir()
    entries = list(_entries(folder))
    judged = size_of(folder / JUDGED) if (folder / JUDGED).is_dir() else 0
    left = sum(e.size for e in entries) + judged
    found = Found()
    order = ("temporary", "computed", "download")
    in_use = _open_files(folder) if left > limit else frozenset()
    for entry in sorted(entries, key=lambda e: (order.index(e.kind), e.used)):
        if left <= limit and entry.kind != "temporary":
            break
        why = _in_use(entry, in_use)
        if why:
            found.kept.append(Kept(entry.path, why))
            continue
        found.items.append(Item(entry.kind, entry.path, entry.size, _why(entry), entry.remove))
        left -= entry.size
    if any(i.kind == "download" for i in found.items):
        found.notes.append("all that can be computed again was not enough: downloads go too, and are fetched again")
    if left > limit:
        found.short = True
        judge = f", {as_size(judged)} of it replies of a judge, which are never removed" if judged else ""
        found.notes.append(f"the cache keeps {as_size(left)}{judge}: more than the {as_size(limit)} asked for")
    return found


def _why(entry: Entry) -> str:
    return {
        "temporary": "left by a dead process",
        "computed": "is computed again when needed",
        "download": "is fetched again when needed",
    }[entry.kind]


def _entries(cache: Path) -> Iterator[Entry]:
    for path in (p for name in DATABASES for p in _matching(cache / name, r"[0-9a-f]{12,16}\.sqlite")):
        yield Entry(path, "computed", companions=tuple(path.parent.glob(f"{path.name}-*")))
    for path in _matching(cache / "rollouts", DIGEST):
        yield Entry(path, "computed", path / LOCK)
    for path in (cache / "datasets").glob("*/*/*/*"):  # builder / configuration / version / hash
        if re.fullmatch("[0-9a-f]{16,64}", path.name) and (path / "dataset_info.json").is_file():
            yield Entry(path, "computed")
    for name, kind in SEALED.items():
        for path in _matching(cache / name, r"[^.].*"):
            if (path / MARKER).is_file():
                yield Entry(path, kind, path.with_name(f".{path.name}.lock"))
    for name in (*DATABASES, "rollouts", *SEALED):
        yield from (Entry(path, "temporary") for path in _matching(cache / name, r"\..*") if is_left_over(path))


def _matching(folder: Path, name: str) -> list[Path]:
    """What has such a name in a folder, without links."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if re.fullmatch(name, path.name) and not path.is_symlink()]


def _in_use(entry: Entry, open_files: frozenset[Path]) -> str:
    if any(path == entry.path or entry.path in path.parents for path in open_files):
        return "a process has it open"
    if entry.lock is None or not entry.lock.is_file():
        return ""
    lock = FileLock(entry.lock)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return "a process holds it"
    lock.release()
    return ""


def _open_files(folder: Path) -> frozenset[Path]:
    """Files below a folder that a process of this user has open."""
    import psutil

    found = set()
    root = folder.resolve()
    for process in psutil.process_iter():
        try:
            names = [file.path for file in process.open_files()]
        except (psutil.Error, OSError):
            continue
        found |= {folder / Path(name).relative_to(root) for name in names if Path(name).is_relative_to(root)}
    return frozenset(found)
