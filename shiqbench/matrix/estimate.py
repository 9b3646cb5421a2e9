"""What the missing cells will cost, by what similar cells in the results folder cost."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import read_json
from shiqbench.matrix.cells import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.matrix.cells import Cell, PlannedFamily

ENOUGH = 5  # finished cells of one kind that are read


@dataclass(frozen=True)
class Cost:
    """Of one cell: means over finished ones.

    Attributes:
        seconds: Training and evaluation.
        tokens: Of training.
        cells: How many were read.
    """

    seconds: float
    tokens: float
    cells: int


@dataclass(frozen=True)
class Forecast:
    """Of everything that is missing.

    Attributes:
        seconds: One after the other.
        tokens: Of training.
        known: Missing cells that have finished ones like them.
        unknown: Missing cells that have none, and are in neither sum.
    """

    seconds: float
    tokens: float
    known: int
    unknown: int


def cost_of(cells: Iterable[Cell]) -> Cost | None:
    """Mean cost of some finished cells; None where there is none."""
    seconds: list[float] = []
    tokens: list[float] = []
    for cell in cells:
        if len(seconds) == ENOUGH:
            break
        try:
            trained: Mapping[str, Any] = read_json(cell.folder / "manifest.json")
            evaluated = read_json(cell.evaluation / "manifest.json")
        except (OSError, ValueError):
            continue  # an estimate does without; running the cell says what is wrong
        seconds.append(float(trained.get("seconds") or 0.0) + float(evaluated["seconds"]["total"]))
        tokens.append(float((trained.get("budget") or {}).get("tokens", 0)))
    return Cost(fmean(seconds), fmean(tokens), len(seconds)) if seconds else None


def estimate(
    planned: Sequence[PlannedFamily], states: Mapping[Path, State], cells: Sequence[Sequence[Cell]]
) -> Forecast:
    """Seeds of one family cost alike; a family without a finished cell costs what others of its task do.

    Args:
        planned: The families.
        states: By cell folder.
        cells: Of each family.
    """
    done = [[c for c in mine if states[c.folder] is State.DONE] for mine in cells]
    own = [cost_of(mine) for mine in done]
    seconds = tokens = 0.0
    known = unknown = 0
    for number, mine in enumerate(cells):
        missing = sum(states[c.folder] is not State.DONE for c in mine)
        cost = own[number] or _of_task(planned, number, own)
        if cost is None:
            unknown += missing
        else:
            known += missing
            seconds += missing * cost.seconds
            tokens += missing * cost.tokens
    return Forecast(seconds, tokens, known, unknown)


def _of_task(planned: Sequence[PlannedFamily], number: int, own: Sequence[Cost | None]) -> Cost | None:
    """Mean over families of the same task and preset that train, or do not, as this one."""
    mine = planned[number]
    alike = [
        cost
        for other, cost in zip(planned, own, strict=True)
        if cost is not None
        and (other.family.request.task, other.family.request.preset)
        == (mine.family.request.task, mine.family.request.preset)
        and (other.plan.cell.train is None) == (mine.plan.cell.train is None)
    ]
    if not alike:
        return None
    count = len(alike)
    return Cost(
        sum(c.seconds for c in alike) / count, sum(c.tokens for c in alike) / count, sum(c.cells for c in alike)
    )
