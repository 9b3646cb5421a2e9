"""Whether rows trained at all: gradients, clipping, and how far the log-ratio followed the returns of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.base.errors import ShiqbenchError
from shiqbench.plugin.validation import validate
from shiqbench.report.cells import text_frame
from shiqbench.report.rows import TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shiqbench.plugin.registry import Registry
    from shiqbench.report.logs import LogBook, TrainingLog
    from shiqbench.report.rows import Row
    from shiqbench.store.index import CellEntry, Text

LITTLE = 0.1  # share of what is asked for, below which a row says little about its algorithm
HOW_TO_READ = (
    "asked nats: how far apart the objective E[return] - beta KL wants the log-probabilities of the data's episodes: "
    "the root mean square of (return - mean return of its group) / beta; - where an algorithm does not claim its "
    "optimum",
    "moved nats: how much of log pi / pi_ref follows these returns; 0 before training, all that is asked at the "
    "optimum; log-ratio: mean of log pi / pi_ref over the data's episodes; both in the last quarter of the updates",
    "for data of the reference a log-ratio of about -(moved nats)^2 / 2 goes with what moved; far below it, "
    "probability went to texts that the data do not hold",
    "clipped: share of the updates with a gradient norm above train.clip; loss: mean of the first and of the last "
    "quarter of the updates",
    "moved far below asked: the row did not train, and says nothing about its algorithm; it needs more updates, a "
    "higher train.lr or a larger beta; moved near asked without a better score: what the objective asks for does not "
    "help",
)


@dataclass(frozen=True)
class Progress:
    """What the log of a training says; None is what it does not say.

    Attributes:
        grad_norm: Median of the gradient norms.
        clipped: Share of the updates that were clipped.
        first: Mean loss of the first quarter of the updates.
        last: Mean loss of the last quarter.
        asked: Root mean square of the advantages over beta, in nats.
        moved: Part of the log-ratio that follows the advantages, in nats.
        log_ratio: Mean log-ratio, in nats.
    """

    grad_norm: float | None
    clipped: float | None
    first: float | None
    last: float | None
    asked: float | None
    moved: float | None
    log_ratio: float | None

    @property
    def share(self) -> float | None:
        """Share of what was asked that was moved."""
        return None if self.asked is None or self.moved is None else self.moved / self.asked


def progress_of(log: TrainingLog, clip: float | None, beta: float | None) -> Progress:
    """Read what a log says.

    Args:
        log: The log.
        clip: Largest gradient norm of an update; None if it is not known.
        beta: Beta of the objective whose optimum the algorithm claims; None if it claims none.
    """
    quarter = max(1, len(log.updates) // 4)

    def mean(name: str, part: slice) -> float | None:
        return _mean(log.values.get(name, np.array([]))[part])

    norms, end = log.values.get("grad_norm", np.array([])), slice(-quarter, None)
    norms = norms[np.isfinite(norms)]
    square, product = mean("advantage_square", end), mean("logratio_advantage", end)
    spread = math.sqrt(square) if square else None
    return Progress(
        grad_norm=float(np.median(norms)) if len(norms) else None,
        clipped=float((norms > clip).mean()) if clip is not None and len(norms) else None,
        first=mean("loss", slice(quarter)),
        last=mean("loss", end),
        asked=spread / beta if spread is not None and beta else None,
        moved=product / spread if product is not None and spread is not None else None,
        log_ratio=mean("logratio", end),
    )


def training_table(rows: Sequence[Row], logs: LogBook, found: Registry) -> TextTable:
    """A line per trained row, means over its seeds.

    Args:
        rows: Trained rows.
        logs: Reads the logs.
        found: Registry; the objective of an algorithm that is not there is unknown.
    """
    each = [_of_row(r, logs, found) for r in rows]
    heads = ["gradient norm", "clipped", "loss, first", "loss, last", "asked nats", "moved nats", "moved", "log-ratio"]
    tasks = [str(r.evaluations[0].cell.recipe.value["task"]["name"]) for r in rows]
    lines = [[r.name, t, str(len(r.seeds)), *_texts(p)] for r, t, p in zip(rows, tasks, each, strict=True)]
    frame = text_frame(["algorithm", "trained on", "seeds", *heads], lines)
    shares = [(r.name, p.share) for r, p in zip(rows, each, strict=True)]
    little = [f"{name} ({share:.0%})" for name, share in shares if share is not None and share < LITTLE]
    said = [f"moved less than {LITTLE:.0%} of what was asked, too little to judge by: {', '.join(little)}"]
    if len(set(tasks)) == 1:
        frame = frame.drop(columns="trained on")
    return TextTable(
        "Training: what was asked of each row, and what it moved", frame, [*said * bool(little), *HOW_TO_READ]
    )


def _of_row(row: Row, logs: LogBook, found: Registry) -> Progress:
    read = [(e.cell, log) for e in row.evaluations if (log := logs.of(e.cell)) is not None]
    each = [progress_of(log, _clip(cell), _beta(cell.recipe, found)) for cell, log in read]
    means = {}
    for name in (f.name for f in fields(Progress)):
        values = [v for p in each if (v := getattr(p, name)) is not None]
        means[name] = _mean(np.array(values)) if len(values) == len(each) else None
    return Progress(**means)


def _texts(p: Progress) -> list[str]:
    numbers = (p.first, p.last, p.asked, p.moved)
    return [_short(p.grad_norm), _percent(p.clipped), *map(_short, numbers), _percent(p.share), _short(p.log_ratio)]


def _clip(cell: CellEntry) -> float | None:
    found: float | None = (cell.recipe.value["train"] or {}).get("clip")
    return found


def _beta(recipe: Text, found: Registry) -> float | None:
    """Beta of the objective whose optimum the algorithm claims; None if it claims none or is not installed here."""
    of = recipe.value["algorithm"]
    try:
        spec = found.algorithm(of["name"])
        if spec.version != of["version"]:
            return None
        found_beta: float | None = spec.load()(validate(spec.load_config(), of["config"], "algo")).temperature
    except ShiqbenchError:
        return None
    return found_beta


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of what is finite; None if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
