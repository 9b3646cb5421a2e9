"""Learning curves: evaluations of checkpoints, and quantities measured by the training itself.

Over tokens or seconds, the seeds of a row are averaged update by update: their tokens or seconds, and their values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from shiqbench.report.estimates import over_seeds
from shiqbench.store.index import origins
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shiqbench.plugin.task import Scores
    from shiqbench.report.known import KnownTask
    from shiqbench.report.logs import LogBook
    from shiqbench.report.rows import Block
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import CellEntry, EvaluationEntry

Evaluated = dict[int, "EvaluationEntry"]  # evaluations of one cell by number of updates


class Point(NamedTuple):
    """A point of a curve.

    Attributes:
        update: Number of updates.
        x: Its place on the x axis.
        value: Value there.
    """

    update: int
    x: float
    value: float


@dataclass(frozen=True)
class Line:
    """The learning curves of a row.

    Attributes:
        algorithm: Name of the algorithm.
        label: The settings in which rows of this algorithm differ.
        seeds: The curve of each seed.
        intervals: 95 % intervals by update, as in the tables; a quantity of the training has none.
        evaluations: The evaluations of each seed by update; empty for a quantity of the training.
    """

    algorithm: str
    label: str
    seeds: list[list[Point]]
    intervals: dict[int, tuple[float, float]] = field(default_factory=dict)
    evaluations: list[Evaluated] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Algorithm and label."""
        return f"{self.algorithm} {self.label}".strip()

    def mean(self) -> list[Point]:
        """Means at the updates that all seeds have."""
        by_seed = [{p.update: p for p in points} for points in self.seeds]
        updates = sorted(set.intersection(*(set(points) for points in by_seed)))
        return [
            Point(u, fmean(points[u].x for points in by_seed), fmean(points[u].value for points in by_seed))
            for u in updates
        ]


@dataclass(frozen=True)
class Curves:
    """The curves over checkpoints of one setting.

    Attributes:
        first: One of the evaluations; all have its setting and metric.
        how: Columns of the single scores; None if the task does not name them.
        lines: The curves, one per row.
    """

    first: EvaluationEntry
    how: Scores | None
    lines: list[Line]


def evaluated(evaluations: Iterable[EvaluationEntry]) -> dict[str, dict[str, Evaluated]]:
    """Put the evaluations of each cell together: the start at update 0, checkpoints, and the final weights.

    Returns:
        Key of a setting -> folder of a cell with checkpoints -> evaluations by number of updates.
    """
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in evaluations:
        by_setting[each.setting.key].append(each)
    found: dict[str, dict[str, Evaluated]] = {}
    for key, of_setting in by_setting.items():
        points: dict[str, Evaluated] = defaultdict(dict)
        for e in of_setting:
            if e.update is not None:
                points[e.cell.folder][e.update] = e
        if not points:
            continue
        find = origins(of_setting)
        final = {e.cell.folder: e for e in of_setting if e.update is None}
        for at, of_cell in points.items():
            cell = next(iter(of_cell.values())).cell
            if (origin := find(cell)) is not None:
                of_cell[0] = origin
            if at in final:
                of_cell[cell.budget["updates"]] = final[at]
        found[key] = {at: dict(sorted(of_cell.items())) for at, of_cell in points.items()}
    return found


def of_checkpoints(
    evaluations: Sequence[EvaluationEntry], known: Mapping[str, KnownTask], book: ScoreBook, logs: LogBook, axis: str
) -> list[Curves]:
    """The curves of every setting with checkpoints.

    Args:
        evaluations: All evaluations.
        known: Known facts about each task.
        book: Reads single scores.
        logs: Reads tokens and seconds.
        axis: ``updates``, ``tokens`` or ``seconds``.
    """
    found = []
    for cells in evaluated(evaluations).values():
        every = {e.folder: e for of_cell in cells.values() for e in of_cell.values()}
        first = next(iter(every.values()))
        how = book.usable(list(every.values()), known[first.setting.value["task"]].scores_of(first.primary["name"]))
        placed = []
        for of_cell in cells.values():
            cell = next(e.cell for u, e in of_cell.items() if u > 0)
            xs = logs.at(cell, axis, list(of_cell))
            if xs is not None:
                points = [Point(u, x, e.primary["value"]) for x, (u, e) in zip(xs, of_cell.items(), strict=True)]
                placed.append((cell, points, of_cell))
        lines = [
            Line(algorithm, label, [p for _, p, _ in group], _intervals(some, how, book), some)
            for algorithm, label, group in _rows(placed)
            for some in [[of_cell for *_, of_cell in group]]
        ]
        found.append(Curves(first, how, lines))
    return found


def _intervals(cells: Sequence[Evaluated], how: Scores | None, book: ScoreBook) -> dict[int, tuple[float, float]]:
    """The intervals of a table; seeds that share an evaluation, such as the start's, count once."""
    found = {}
    for update in sorted(set.intersection(*(set(c) for c in cells))):
        estimate = over_seeds(list({c[update].folder: c[update] for c in cells}.values()), how, book)
        if estimate.low is not None and estimate.high is not None:
            found[update] = (estimate.low, estimate.high)
    return found


def of_training(block: Block, quantity: str, logs: LogBook, axis: str) -> list[Line]:
    """The curves of a quantity that the trainings of a block's rows have measured, best row first.

    Args:
        block: Block of the report.
        quantity: Key of ``train.jsonl``.
        logs: Reads the logs.
        axis: ``updates``, ``tokens`` or ``seconds``.
    """
    found: list[_Placed] = []
    for row in block.rows:
        for e in row.evaluations:
            log = logs.of(e.cell) if e.cell.seconds is not None else None
            if log is None or quantity not in log.values:
                continue
            xs, values = log.at(axis, log.updates.tolist()).tolist(), log.values[quantity].tolist()
            points = map(Point, log.updates.tolist(), xs, values)
            found.append((e.cell, [p for p in points if not math.isnan(p.value)], {}))
    return [Line(algorithm, label, [p for _, p, _ in group]) for algorithm, label, group in _rows(found)]


_Placed = tuple["CellEntry", list[Point], Evaluated]


def _rows(found: Sequence[_Placed]) -> list[tuple[str, str, list[_Placed]]]:
    """One row per recipe: algorithm, label, and its cells."""
    by_recipe: dict[str, list[_Placed]] = defaultdict(list)
    for each in found:
        by_recipe[each[0].recipe.key].append(each)
    groups = list(by_recipe.values())
    said = labels([g[0][0].recipe.value for g in groups])
    return [(g[0][0].algorithm, label, g) for g, label in zip(groups, said, strict=True)]
