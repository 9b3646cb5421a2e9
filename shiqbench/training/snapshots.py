"""Snapshots of the trained state, taken during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import is_whole_zip, replacing
from shiqbench.store.cell import corrupt, is_done, mark_done

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


FOLDER = "snapshots"


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one training.

    Attributes:
        folder: Folder of the snapshots; once all are there, a DONE lists their sha256.
        updates: Updates after which a snapshot is taken.
        main: Whether this process writes them.
    """

    folder: Path
    updates: tuple[int, ...]
    main: bool = True

    def file(self, update: int) -> Path:
        """Path of the snapshot after an update."""
        return self.folder / f"{update:06d}.pt"

    def complete(self) -> bool:
        """Whether every snapshot is there.

        Raises:
            CorruptCellError: A snapshot differs from what was written.
        """
        return is_done(self.folder) and all(self.file(u).is_file() for u in self.updates)

    def keep(self, update: int, trained: Callable[[], dict[str, Any]]) -> None:
        """Write the trained state, if a snapshot of this update is wanted."""
        if update not in self.updates:
            return
        import torch

        state = trained()
        if not self.main:
            return
        self.folder.mkdir(exist_ok=True)
        with replacing(self.file(update)) as temporary, temporary.open("wb") as stream:
            torch.save(state, stream)

    def seal(self) -> None:
        """Write DONE if all snapshots are there; a training that continued after a stop may lack some.

        Raises:
            CorruptCellError: A snapshot is damaged; it may have been on disk during a stop.
        """
        if self.updates and all(self.file(u).is_file() for u in self.updates):
            if damaged := [self.file(u).name for u in self.updates if not is_whole_zip(self.file(u))]:
                raise corrupt(self.folder, f"{damaged[0]} is damaged")
            mark_done(self.folder, self.folder.glob("*.pt"))
