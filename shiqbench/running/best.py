"""``--keep best``: the weights that are best on validation, chosen among the points of the learning curve.

The choice reads only evaluations on validation. The chosen weights are kept as a model next to the final ones, and
their evaluation has a recipe of its own, so that it is never taken for one of the final weights.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import read_json, replacing_folder
from shiqbench.running.weights import evaluated_weights
from shiqbench.store.cell import BEST, is_done, mark_done, verified

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.planning.plan import CellPlan, LearningCurve


@dataclass(frozen=True)
class Chosen:
    """The point of a curve that is best on validation.

    Attributes:
        update: Updates done.
        snapshot: The update whose snapshot has the weights; None for the final weights.
        metric: Primary metric, by which it is chosen.
        values: Its value after each update that could be chosen.
    """

    update: int
    snapshot: int | None
    metric: str
    values: dict[int, float]

    def facts(self) -> dict[str, Any]:
        """What the manifest of an evaluation of these weights says about the choice."""
        return {
            "update": self.update,
            "chosen_on": "validation",
            "metric": self.metric,
            "values": {str(update): value for update, value in self.values.items()},
        }


def choose(curve: LearningCurve) -> Chosen:
    """Choose the best point after update 0; of equal ones the first. Every point must be evaluated."""
    points = [p for p in curve.points if p.update > 0]
    primaries = {p.update: read_json(p.folder / "metrics.json")["primary"] for p in points}
    first = primaries[points[0].update]
    sign = 1 if first["higher_is_better"] else -1
    best = max(points, key=lambda p: sign * primaries[p.update]["value"])
    return Chosen(best.update, best.snapshot, first["name"], {u: p["value"] for u, p in primaries.items()})


def kept_weights(cell: CellPlan, chosen: Chosen) -> tuple[Path, str]:
    """Folder of the chosen weights, written if they are not kept yet, and the sha256 of the weights."""
    folder = cell.folder / BEST / f"{chosen.update:06d}"
    if not is_done(folder):
        with evaluated_weights(cell, chosen.snapshot) as (weights, _), replacing_folder(folder) as temporary:
            assert weights is not None
            shutil.copytree(weights, temporary, dirs_exist_ok=True)
            mark_done(temporary, [f for f in temporary.rglob("*") if f.is_file()])
    return folder, verified(folder, "model.safetensors")
