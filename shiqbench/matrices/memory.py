"""What memory the cells of a matrix take, and whether several fit at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.matrices.cells import State
from shiqbench.running.memory import Stage, gigabytes, memory_stages, room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shiqbench.matrices.plan import MatrixPlan
    from shiqbench.planning.plan import RunPlan


@dataclass(frozen=True)
class Need:
    """The largest stage of a task's cells that are left to do.

    Attributes:
        task: Name of the task.
        model: The model that its cells start from.
        stage: The stage with its memory.
        at_once: Cells that share this memory.
    """

    task: str
    model: str
    stage: Stage
    at_once: int

    def lines(self) -> Iterator[str]:
        """For a terminal: the stage, and a note if so many cells need more than there is."""
        yield f"{self.task} with {self.model}: {self.stage}"
        total = self.at_once * self.stage.total
        if total > self.stage.limit:
            cells = f"{self.at_once} cells at once need" if self.at_once > 1 else "a cell needs"
            do = "lower --jobs" if self.at_once > 1 else "shiqbench run --dry-run says what would fit"
            yield f"note: {cells} about {gigabytes(total)} of {gigabytes(self.stage.limit)} GB: {do}"

    def as_json(self) -> dict[str, Any]:
        """JSON-able form; bytes."""
        return {"task": self.task, "model": self.model, **self.stage.as_json(), "at_once": self.at_once}


def needs(matrix: MatrixPlan, at_once: int) -> list[Need]:
    """The largest stage for each task and model; a GPU is a cell's own, the machine's memory is shared.

    Args:
        matrix: The plan.
        at_once: Cells that run at the same time.
    """
    has = room()
    found: dict[tuple[str, str], Stage] = {}
    for plan in _left(matrix):
        key = plan.name, plan.cell.model.text
        stages = memory_stages(plan, has)
        if stages:
            found[key] = max([*stages, *([found[key]] if key in found else [])], key=lambda s: s.total)
    return [Need(*key, stage, 1 if has.gpu else at_once) for key, stage in found.items()]


def _left(matrix: MatrixPlan) -> Iterator[RunPlan]:
    """For each family that is not finished, the plan of its first missing cell."""
    for stage in (matrix.trial_stage, matrix.final):
        for planned, cells in zip(stage.planned, stage.cells, strict=True):
            missing = next((c for c in cells if c.state() is not State.DONE), None)
            if missing is not None:
                yield planned.plan if missing.seed is None else planned.plan.with_seed(missing.seed)
