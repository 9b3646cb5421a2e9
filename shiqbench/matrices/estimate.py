"""Estimate the cost of the missing cells from similar finished cells in the results folder."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import read_json
from shiqbench.matrices.cells import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.matrices.cells import Cell, PlannedFamily

ENOUGH = 5  # at most so many finished cells of one kind are read


@dataclass(frozen=True)
class Cost:
    """Cost of one cell: means over finished cells.

    Attributes:
        seconds: Time of training and evaluation.
        tokens: Training tokens.
        cells: How many cells were read.
    """

    seconds: float
    tokens: float
    cells: int


@dataclass(frozen=True)
class Forecast:
    """Cost of all missing cells.

    Attributes:
        seconds: Time if the cells run one after the other.
        tokens: Training tokens.
        known: Missing cells with a similar finished cell.
        unknown: Missing cells without a similar finished cell; both sums exclude them.
    """

    seconds: float
    tokens: float
    known: int
    unknown: int


def cost_of(cells: Iterable[Cell]) -> Cost | None:
    """Return the mean cost of some finished cells; None if there is none."""
    seconds: list[float] = []
    tokens: list[float] = []
    for cell in cells:
        if len(seconds) == ENOUGH:
            break
        try:
            trained: Mapping[str, Any] = read_json(cell.folder / "manifest.json")
            evaluated = read_json(cell.evaluation / "manifest.json")
        except (OSError, ValueError):
            continue  # an estimate does not need it; a run of the cell reports the error
        seconds.append(float(trained.get("seconds") or 0.0) + float(evaluated["seconds"]["total"]))
        tokens.append(float((trained.get("budget") or {}).get("tokens", 0)))
    return Cost(fmean(seconds), fmean(tokens), len(seconds)) if seconds else None


def estimate(
    planned: Sequence[PlannedFamily], states: Mapping[Path, State], cells: Sequence[Sequence[Cell]]
) -> Forecast:
    """Estimate the cost: seeds of one family cost the same; a family without a finished cell costs what its task does.

    Args:
        planned: The families.
        states: Cell folder -> state.
        cells: Cells of each family.
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
    """Return the mean cost of families with the same task, preset and kind (with or without training)."""
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
