"""``--eval-every N`` evaluates the weights after every N updates on the validation split of the cell's own task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.planning.plan import LearningCurve

if TYPE_CHECKING:
    from shiqbench.planning.plan import RunPlan

BEST = "best"
SPLIT = "validation"  # users may choose a checkpoint by its curve, and never by the test split


def make_curve(plan: RunPlan, every: int | None, keep: str | None = None) -> LearningCurve | None:
    """Make the requested curve, if there is one.

    Args:
        plan: Plan of the cell and its evaluation.
        every: Updates between two points; None for no curve.
        keep: ``best`` to keep and evaluate the best point too.

    Raises:
        ConfigError: This cell can have no curve, or there is none from which the best point could be chosen.
    """
    if keep not in (None, BEST):
        raise ConfigError(f"{keep!r} cannot be kept", where="--keep", do="give best, or leave it out")
    if every is None and keep is None:
        return None
    train = plan.cell.train
    refused = ""
    if plan.cell.task.own_policy:
        refused = f"{plan.cell.task.name} scores its own policy exactly; train.jsonl contains its curve"
        refused += ", and there is no validation split" if keep else ""
    elif train is None:
        refused = f"{plan.cell.algorithm.name} trains nothing"
    elif not train.updates:
        refused = "the budget is in tokens; give --set train.updates=N --set train.tokens=null"
    elif every is not None and not 0 < every <= train.updates:
        refused = f"training has {train.updates} updates"
    if refused:
        where = " ".join(["--eval-every", str(every)] if every is not None else ["--keep", BEST])
        raise ConfigError(f"there is no curve over checkpoints: {refused}", where=where, do="leave it out")
    if every is None:
        raise ConfigError(
            "the best weights are chosen among the points of a curve on validation, and there is none",
            where=f"--keep {BEST}",
            do="add --eval-every N",
        )
    if keep and getattr(plan.evaluation, "split", None) == SPLIT:
        raise ConfigError(
            "the evaluation is on validation itself, so it would be of the weights that it has chosen",
            where=f"--keep {BEST}",
            do="set eval.split=test, or leave --keep out: the curve has these values",
        )
    of_points = replace(plan, evaluation=plan.evaluation.model_copy(update={"split": SPLIT}), also=())
    return LearningCurve(of_points, every, keep_best=keep is not None)
