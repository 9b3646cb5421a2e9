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
from shiqbench.report.names import names_of, with_label
from shiqbench.store.index import origins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shiqbench.plugin.task import Scores
    from shiqbench.report.known import KnownTask
    from shiqbench.report.logs import LogBook
    from shiqbench.report.rows import Block
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import EvaluationEntry, Index

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
        return with_label(self.algorithm, self.label)

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
            if e.update is not None and not e.best:
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
    index: Index, known: Mapping[str, KnownTask], book: ScoreBook, logs: LogBook, axis: str
) -> list[Curves]:
    """The curves of every setting with checkpoints, rows in order of their names.

    Args:
        index: Index of the results.
        known: Known facts about each task.
        book: Reads single scores.
        logs: Reads tokens and seconds.
        axis: ``updates``, ``tokens`` or ``seconds``.
    """
    found, names = [], names_of(index)
    for cells in evaluated(index.evaluations.values()).values():
        every = {e.folder: e for of_cell in cells.values() for e in of_cell.values()}
        first = next(iter(every.values()))
        how = book.usable(list(every.values()), known[first.task].scores_of(first.primary["name"]))
        rows: dict[str, list[tuple[list[Point], Evaluated]]] = defaultdict(list)
        for of_cell in cells.values():
            cell = next(e.cell for u, e in of_cell.items() if u > 0)
            xs = logs.at(cell, axis, list(of_cell))
            if xs is not None:
                points = [Point(u, x, e.primary["value"]) for x, (u, e) in zip(xs, of_cell.items(), strict=True)]
                rows[cell.recipe.key].append((points, of_cell))
        lines = []
        for key, group in rows.items():
            seeds, of_seeds = [points for points, _ in group], [of_cell for _, of_cell in group]
            algorithm = of_seeds[0][max(of_seeds[0])].cell.algorithm
            lines.append(Line(algorithm, names[key].label, seeds, _intervals(of_seeds, how, book), of_seeds))
        found.append(Curves(first, how, sorted(lines, key=lambda line: line.name)))
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
    found = []
    for row in block.rows:
        read = [log for e in row.evaluations if e.cell.seconds is not None and (log := logs.of(e.cell)) is not None]
        seeds = [
            [Point(*p) for p in zip(log.updates.tolist(), log.over(axis).tolist(), values.tolist(), strict=True)]
            for log in read
            if (values := log.values.get(quantity)) is not None
        ]
        curves = [points for seed in seeds if (points := [p for p in seed if not math.isnan(p.value)])]
        if curves:
            found.append(Line(row.algorithm, row.label, curves))
    return found
