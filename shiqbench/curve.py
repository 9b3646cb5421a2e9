"""``--eval-every N``: the cell's own task on validation, for the weights as they were every N updates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shiqbench.config import EvalConfig
from shiqbench.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.plan import CellPlan, RunPlan

SPLIT = "validation"  # a checkpoint may be chosen by its curve, and never by the test


@dataclass(frozen=True)
class Point:
    """One evaluation of the curve.

    Attributes:
        update: Updates done.
        cell: Whose weights: the cell's, or at update 0 those that it starts from.
        snapshot: The update whose snapshot is evaluated; None for final weights.
        folder: Of the evaluation.
    """

    update: int
    cell: CellPlan
    snapshot: int | None
    folder: Path


@dataclass(frozen=True)
class Curve:
    """A learning curve.

    Attributes:
        plan: The cell's plan, evaluated on validation.
        every: Updates between two points.
    """

    plan: RunPlan
    every: int

    @property
    def total(self) -> int:
        """Updates of the whole training."""
        train: Any = self.plan.cell.train
        return int(train.updates)

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The updates between the first and the last."""
        return tuple(range(self.every, self.total, self.every))

    @property
    def points(self) -> list[Point]:
        """What is evaluated, in the order of training; at update 0 what every cell with this start shares."""
        plan, cell = self.plan, self.plan.cell
        first = cell.start or plan.base
        between = [Point(u, cell, u, plan.eval_folder(cell, u)) for u in self.snapshots]
        return [
            Point(0, first, None, plan.eval_folder(first)),
            *between,
            Point(self.total, cell, None, plan.eval_folder(cell)),
        ]


def make_curve(plan: RunPlan, every: int | None) -> Curve | None:
    """The curve that was asked for.

    Raises:
        ConfigError: It cannot be had.
    """
    if every is None:
        return None
    train: Any = plan.cell.train
    refused = ""
    if plan.cell.task.own_policy:
        refused = f"{plan.cell.task.name} scores its own policy exactly; train.jsonl holds its curve"
    elif train is None:
        refused = f"{plan.cell.algorithm.name} trains nothing"
    elif not train.updates:
        refused = "the budget is in tokens; give --set train.updates=N --set train.tokens=null"
    elif not 0 < every <= train.updates:
        refused = f"training has {train.updates} updates"
    if refused:
        raise ConfigError(
            f"a curve over checkpoints cannot be had: {refused}", where=f"--eval-every {every}", do="leave it out"
        )
    assert isinstance(plan.evaluation, EvalConfig)
    return Curve(replace(plan, evaluation=plan.evaluation.model_copy(update={"split": SPLIT}), also=()), every)
