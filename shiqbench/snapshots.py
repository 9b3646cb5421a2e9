"""Weights as they were during training: only what is trained is kept, and becomes a whole model while it is needed."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.cell import corrupt, is_done, mark_done, recorded, verified
from shiqbench.errors import RunError
from shiqbench.files import is_whole_zip, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shiqbench.plan import CellPlan

FOLDER = "snapshots"
REPLAY = ".replay"  # in a finished cell that is trained once more, for the snapshots that it did not keep


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one training.

    Attributes:
        folder: Where they are; a DONE names their sha256 once all are there.
        updates: After which updates.
    """

    folder: Path
    updates: tuple[int, ...]

    def file(self, update: int) -> Path:
        """The snapshot after an update."""
        return self.folder / f"{update:06d}.pt"

    def complete(self) -> bool:
        """Whether every one is there.

        Raises:
            CorruptCellError: One differs from what was written.
        """
        return is_done(self.folder) and all(self.file(u).is_file() for u in self.updates)

    def keep(self, update: int, trained: Callable[[], dict[str, Any]]) -> None:
        """Write what is trained, if this update's is wanted."""
        if update not in self.updates:
            return
        import torch

        self.folder.mkdir(exist_ok=True)
        with replacing(self.file(update)) as temporary, temporary.open("wb") as stream:
            torch.save(trained(), stream)

    def seal(self) -> None:
        """Write DONE if all are there; a training that went on after a stop may have passed some by.

        Raises:
            CorruptCellError: One is damaged, as it may have lain there during a stop.
        """
        if self.updates and all(self.file(u).is_file() for u in self.updates):
            if damaged := [self.file(u).name for u in self.updates if not is_whole_zip(self.file(u))]:
                raise corrupt(self.folder, f"{damaged[0]} is damaged")
            mark_done(self.folder, self.folder.glob("*.pt"))


def of_cell(cell: CellPlan, updates: tuple[int, ...]) -> Snapshots:
    """Those that lie in the cell's folder."""
    return Snapshots(cell.folder / FOLDER, updates)


def adopt(replayed: Path, cell: CellPlan) -> None:
    """Take over the snapshots of a second training, once its weights are seen to be the cell's own.

    Raises:
        RunError: They are not; nothing is taken over.
    """
    from shiqbench.digest import file_sha256

    name = "checkpoint/model.safetensors"
    if file_sha256(replayed / name) != recorded(cell.folder, name):  # the cell's own may have been cleaned
        raise RunError(
            "trained once more for its snapshots, the cell gives other weights",
            where=str(cell.folder),
            do="was it trained on another machine? Delete it to train it here",
        )
    target = cell.folder / FOLDER
    target.mkdir(exist_ok=True)
    for file in (replayed / FOLDER).glob("*.pt"):
        file.replace(target / file.name)
    mark_done(target, target.glob("*.pt"))
    shutil.rmtree(replayed)


@contextmanager
def as_model(cell: CellPlan, update: int) -> Iterator[tuple[Path, str]]:
    """A folder with the whole model as it was after an update, removed afterwards; and the snapshot's sha256."""
    import torch

    from shiqbench.config import TrainConfig
    from shiqbench.policy import Policy, load_model
    from shiqbench.rendering import Renderer
    from shiqbench.train_cell import save_weights, start_weights

    assert isinstance(cell.train, TrainConfig)
    assert cell.seed is not None
    file = of_cell(cell, (update,)).file(update)
    sha256 = verified(file.parent, file.name)
    source, _ = start_weights(cell)
    algorithm = cell.algorithm.load()(cell.algo)
    policy = Policy(load_model(source, cell.train, cell.seed), cell.train, algorithm.needs)
    trained = torch.load(file, map_location="cpu", weights_only=True)
    policy.load_state_dict(trained, strict=not cell.train.lora_rank)
    folder = cell.folder / f".model-{update}"
    try:
        save_weights(policy, source, Renderer(source), folder, algorithm.sampling_q_weight)
        del policy
        yield folder, sha256
    finally:
        shutil.rmtree(folder, ignore_errors=True)
