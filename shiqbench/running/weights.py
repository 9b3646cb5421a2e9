"""Weights of a cell: those it starts from, the final ones, and those after single updates."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import RunError
from shiqbench.models.identity import model_identity
from shiqbench.store.cell import mark_done, recorded, verified, verified_weights
from shiqbench.training.snapshots import FOLDER, Snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shiqbench.planning.plan import CellPlan


@contextmanager
def evaluated_weights(cell: CellPlan, update: int | None) -> Iterator[tuple[Path | None, str | None]]:
    """Folder and sha256 of trained weights; None and None for a model that was not trained here."""
    if update is not None:
        with as_model(cell, update) as found:
            yield found
        return
    trained = cell.folder if cell.train is not None else cell.model.cell
    yield verified_weights(trained) if trained is not None else (None, None)


def start_weights(cell: CellPlan) -> tuple[Path, str]:
    """Folder and identity of the model that the cell starts from; it is also the reference."""
    if cell.start is None:
        return (folder := cell.model.folder()), model_identity(folder)
    folder, sha256 = verified_weights(cell.start.folder)
    return folder, model_identity(folder, {"model.safetensors": sha256})


REPLAY = ".replay"  # in a finished cell that is trained once more, to get snapshots that it did not keep


def of_cell(cell: CellPlan, updates: tuple[int, ...]) -> Snapshots:
    """Snapshots in the cell's folder."""
    return Snapshots(cell.folder / FOLDER, updates)


def adopt(replayed: Path, cell: CellPlan) -> None:
    """Move the snapshots of a second training to the cell, if both trainings have the same final weights.

    Raises:
        RunError: The weights differ; nothing is moved.
    """
    name = "checkpoint/model.safetensors"
    if file_sha256(replayed / name) != recorded(cell.folder, name):  # the cell's file may be cleaned
        raise RunError(
            "the cell got other weights when it was trained once more for its snapshots",
            where=str(cell.folder),
            do="if it was trained on another machine, delete it to train it here",
        )
    target = cell.folder / FOLDER
    target.mkdir(exist_ok=True)
    for file in (replayed / FOLDER).glob("*.pt"):
        file.replace(target / file.name)
    mark_done(target, target.glob("*.pt"))
    shutil.rmtree(replayed)


@contextmanager
def as_model(cell: CellPlan, update: int) -> Iterator[tuple[Path, str]]:
    """Yield a folder with the whole model after an update, removed at the end, and the snapshot's sha256."""
    import torch

    from shiqbench.episodes.rendering import Renderer
    from shiqbench.training.settled import load_policy
    from shiqbench.training.weights import save_weights

    assert cell.seed is not None
    file = of_cell(cell, (update,)).file(update)
    sha256 = verified(file.parent, file.name)
    source, _ = start_weights(cell)
    algorithm = cell.algorithm.load()(cell.algo)
    policy, _ = load_policy(source, cell.train, algorithm.needs, cell.seed)
    trained = torch.load(file, map_location="cpu", weights_only=True)
    policy.load_state_dict(trained, strict=not cell.train.lora_rank)
    folder = cell.folder / f".model-{update}"
    try:
        save_weights(policy, source, Renderer(source), folder, algorithm.sampling_q_weight)
        del policy
        yield folder, sha256
    finally:
        shutil.rmtree(folder, ignore_errors=True)
