"""What can be removed, what is kept and why, and removing it so that a kill leaves nothing half there."""

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
    """Another process came to use it after it was listed."""


@dataclass(frozen=True)
class Item:
    """Something that would go.

    Attributes:
        kind: In one word.
        path: What is removed.
        size: Bytes of its files.
        why: Why it may go.
        remove: Removes it; raises :class:`InUseError` if a process has come to use it, OSError if it cannot.
    """

    kind: str
    path: Path
    size: int
    why: str
    remove: Callable[[], None]


@dataclass(frozen=True)
class Kept:
    """Something that was asked for and stays.

    Attributes:
        path: What.
        why: Why it stays.
    """

    path: Path
    why: str


@dataclass
class Found:
    """What a search has found.

    Attributes:
        items: What would go.
        kept: What stays although its kind was asked for.
    """

    items: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take over what another search has found."""
        self.items += other.items
        self.kept += other.kept

    @property
    def size(self) -> int:
        """Bytes of what would go."""
        return sum(item.size for item in self.items)

    def lines(self) -> list[str]:
        """The table, with a total, and what is kept."""
        rows = [(i.kind, as_size(i.size), str(i.path), i.why) for i in self.items]
        widths = [max((len(r[c]) for r in rows), default=0) for c in range(3)]
        said = [f"{k:<{widths[0]}}  {s:>{widths[1]}}  {p:<{widths[2]}}  {w}" for k, s, p, w in rows]
        said.append(f"total {as_size(self.size)} in {len(rows)}" if rows else "nothing to remove")
        return said + [f"kept {k.path}: {k.why}" for k in self.kept]


@dataclass
class Outcome:
    """What became of the items.

    Attributes:
        removed: Items that are gone.
        kept: Those that a process came to use.
        failed: Those that could not be removed, with the system's reason.
    """

    removed: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    failed: list[Kept] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal."""
        said = [f"removed {len(self.removed)}, {as_size(sum(i.size for i in self.removed))}"]
        said += [f"kept {k.path}: {k.why}" for k in self.kept]
        said += [f"failed {f.path}: {f.why}" for f in self.failed]
        return said + ([f"{len(self.failed)} could not be removed"] if self.failed else [])


def remove(items: list[Item]) -> Outcome:
    """Remove one after the other; what fails is counted and the others still go."""
    outcome = Outcome()
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
    """Remove a file or folder as a whole: it first gets a temporary name, under which a later search finds the rest."""
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
    """Hold a lock without waiting for it.

    Raises:
        InUseError: Another process holds it.
        FileNotFoundError: Its folder is gone.
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
    """Every file and link of a folder, or the file itself; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, names, files in os.walk(path):
        yield from (Path(folder) / name for name in files)
        yield from (Path(folder) / name for name in names if (Path(folder) / name).is_symlink())


def size_of(path: Path) -> int:
    """Bytes of the files below a path; of what vanishes meanwhile, none."""
    total = 0
    for file in files_below(path):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def is_left_over(path: Path) -> bool:
    """Whether it has a temporary name and the process that wrote it is dead."""
    import psutil

    writer = writer_of(path)
    return writer is not None and not psutil.pid_exists(writer)


def as_size(size: int) -> str:
    """Bytes in the unit that suits them, such as ``1.3 GB``."""
    unit = next(u for u in reversed(UNITS) if size >= UNITS[u] or u == "B")
    return f"{size} B" if unit == "B" else f"{size / UNITS[unit]:.1f} {unit}"
