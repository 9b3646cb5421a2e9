"""``--eval-every N``: the cell's own task on validation, for the weights as they were every N updates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.planning.plan import Curve

if TYPE_CHECKING:
    from shiqbench.planning.plan import RunPlan

SPLIT = "validation"  # a checkpoint may be chosen by its curve, and never by the test


def make_curve(plan: RunPlan, every: int | None) -> Curve | None:
    """The curve that was asked for.

    Raises:
        ConfigError: It cannot be had.
    """
    if every is None:
        return None
    train = plan.cell.train
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
    return Curve(replace(plan, evaluation=plan.evaluation.model_copy(update={"split": SPLIT}), also=()), every)
