"""``--eval-every N``: evaluates the weights after every N updates on the validation split of the cell's own task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.planning.plan import LearningCurve

if TYPE_CHECKING:
    from shiqbench.planning.plan import RunPlan

SPLIT = "validation"  # users may choose a checkpoint by its curve, and never by the test split


def make_curve(plan: RunPlan, every: int | None) -> LearningCurve | None:
    """Make the requested curve, if there is one.

    Raises:
        ConfigError: This cell can have no curve.
    """
    if every is None:
        return None
    train = plan.cell.train
    refused = ""
    if plan.cell.task.own_policy:
        refused = f"{plan.cell.task.name} scores its own policy exactly; train.jsonl contains its curve"
    elif train is None:
        refused = f"{plan.cell.algorithm.name} trains nothing"
    elif not train.updates:
        refused = "the budget is in tokens; give --set train.updates=N --set train.tokens=null"
    elif not 0 < every <= train.updates:
        refused = f"training has {train.updates} updates"
    if refused:
        raise ConfigError(
            f"there is no curve over checkpoints: {refused}", where=f"--eval-every {every}", do="leave it out"
        )
    return LearningCurve(replace(plan, evaluation=plan.evaluation.model_copy(update={"split": SPLIT}), also=()), every)
