"""Items to remove, items that are kept and why, and removal that is complete even after a kill."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from shiqbench.base.files import temporary_name, writer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class InUseError(Exception):
    """Another process has begun to use the item after it was listed."""


@dataclass(frozen=True)
class Item:
    """A file or folder to remove.

    Attributes:
        kind: Kind in one word.
        path: Path of the file or folder.
        size: Bytes of its files.
        why: Why it can be removed.
        remove: Removes it; raises :class:`InUseError` if a process has begun to use it, OSError if removal fails.
    """

    kind: str
    path: Path
    size: int
    why: str
    remove: Callable[[], None]


@dataclass(frozen=True)
class Kept:
    """A file or folder that was selected but is kept.

    Attributes:
        path: Path of the file or folder.
        why: Why it is kept.
    """

    path: Path
    why: str


@dataclass
class Found:
    """Result of a search.

    Attributes:
        items: What would be removed.
        kept: What is kept although its kind was selected.
    """

    items: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Add the result of another search."""
        self.items += other.items
        self.kept += other.kept

    @property
    def size(self) -> int:
        """Bytes of all items."""
        return sum(item.size for item in self.items)

    def lines(self) -> list[str]:
        """Return the table of items with a total, then what is kept."""
        rows = [(i.kind, as_size(i.size), str(i.path), i.why) for i in self.items]
        widths = [max((len(r[c]) for r in rows), default=0) for c in range(3)]
        said = [f"{k:<{widths[0]}}  {s:>{widths[1]}}  {p:<{widths[2]}}  {w}" for k, s, p, w in rows]
        said.append(f"total {as_size(self.size)} in {len(rows)}" if rows else "nothing to remove")
        return said + [f"kept {k.path}: {k.why}" for k in self.kept]


@dataclass
class Removal:
    """Result of a removal.

    Attributes:
        removed: Items that were removed.
        kept: Items that a process has begun to use, or that were gone already.
        failed: Items that could not be removed, with the reason that the operating system reported.
    """

    removed: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    failed: list[Kept] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        said = [f"removed {len(self.removed)}, {as_size(sum(i.size for i in self.removed))}"]
        said += [f"kept {k.path}: {k.why}" for k in self.kept]
        said += [f"failed {f.path}: {f.why}" for f in self.failed]
        return said + ([f"{len(self.failed)} could not be removed"] if self.failed else [])


def remove(items: list[Item]) -> Removal:
    """Remove items one after the other; a failure is counted, and the others are still removed."""
    outcome = Removal()
    for item in items:
        try:
            item.remove()
        except InUseError as error:
            outcome.kept.append(Kept(item.path, str(error)))
        except FileNotFoundError as error:
            if item.path.exists():
                outcome.failed.append(Kept(item.path, str(error)))
            else:  # another process removed it
                outcome.kept.append(Kept(item.path, "it was gone already"))
        except OSError as error:
            outcome.failed.append(Kept(item.path, f"{error.strerror or error} ({error.filename or item.path})"))
        else:
            outcome.removed.append(item)
    return outcome


def discard(path: Path) -> None:
    """Rename a file or folder to a temporary name, then remove it; after a kill, a later search finds the rest."""
    gone = path
    if writer_of(path) is None:
        gone = temporary_name(path)
        path.rename(gone)
    erase(gone)


def erase(path: Path) -> None:
    """Remove a file, a link or a folder; links are removed and never followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def taken(lock: Path) -> Iterator[None]:
    """Take a lock without waiting for it.

    Raises:
        InUseError: Another process holds it.
        FileNotFoundError: The folder of the lock does not exist.
    """
    if not lock.parent.is_dir():
        raise FileNotFoundError(lock.parent)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise InUseError("a process has begun to use it") from error
    try:
        yield
    finally:
        held.release()


def files_below(path: Path) -> Iterator[Path]:
    """Yield every file and link below a folder, or the file itself; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, names, files in os.walk(path):
        yield from (Path(folder) / name for name in files)
        yield from (Path(folder) / name for name in names if (Path(folder) / name).is_symlink())


def size_of(path: Path) -> int:
    """Bytes of the files below a path; files that disappear during the count are left out."""
    total = 0
    for file in files_below(path):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def is_left_over(path: Path) -> bool:
    """Whether the path has a temporary name and the process that wrote it is dead."""
    import psutil

    writer = writer_of(path)
    return writer is not None and not psutil.pid_exists(writer)


def as_size(size: int) -> str:
    """Return a number of bytes as text in a suitable unit, such as ``1.3 GB``."""
    unit = next(u for u in reversed(UNITS) if size >= UNITS[u] or u == "B")
    return f"{size} B" if unit == "B" else f"{size / UNITS[unit]:.1f} {unit}"
