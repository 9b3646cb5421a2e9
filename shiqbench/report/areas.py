"""The area under the learning curve: a row's mean value over training, with a 95 % interval.

A curve is the straight lines between its evaluations. Its mean over a range of x is a linear combination of their
values (the trapezoidal rule), and so is that of each example's scores. So the two-way variance of
:mod:`shiqbench.stats.two_way` holds for examples' areas as it does for their scores.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.words import counted
from shiqbench.report.cells import text_frame
from shiqbench.report.estimates import FEW, Estimate, said_over
from shiqbench.report.logs import AXES
from shiqbench.report.names import is_named
from shiqbench.report.notes import brief_seeds
from shiqbench.report.numbers import in_column
from shiqbench.report.rows import TextTable
from shiqbench.stats.intervals import LEAST_EXAMPLES
from shiqbench.stats.two_way import interval_of_difference, interval_of_mean, pseudo_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shiqbench.plugin.task import Scores
    from shiqbench.report.curves import Curves, Line
    from shiqbench.report.scores import ScoreBook, UnitScores


def area_weights(xs: Sequence[float], low: float, high: float) -> NDArray[np.float64]:
    """Return the weights of a curve's points in its mean between ``low`` and ``high``; they sum to 1.

    Args:
        xs: Places of the points on the x axis, ascending.
        low: Begin of the range, at or after the first point.
        high: End of the range, at or before the last point.
    """
    nodes = np.unique(np.clip(xs, low, high))
    widths = np.diff(nodes)
    of_nodes = (np.append(widths, 0.0) + np.append(0.0, widths)) / (2 * (high - low))
    values = np.stack([np.interp(nodes, xs, one) for one in np.eye(len(xs))], axis=1)
    found: NDArray[np.float64] = of_nodes @ values
    return found


def area_of(line: Line, low: float, high: float, how: Scores | None, book: ScoreBook) -> Estimate:
    """Estimate a row's mean value over the training between two places on the x axis.

    Args:
        line: The row's curves over checkpoints.
        low: Begin of the range, which all curves hold.
        high: End of the range.
        how: Columns of the single scores; None if the task does not name them: then there is no interval.
        book: Reads the single scores.
    """
    weights = _weights(line, low, high)
    value = fmean(float(w @ [p.value for p in points]) for w, points in zip(weights, line.seeds, strict=True))
    if not math.isfinite(value):
        return Estimate(value, None, None, "no interval: a value is not finite")
    if how is None:
        return Estimate(value, None, None, "no interval: the task names no single scores")
    try:
        (scores,), units = _scores([line], low, high, how, book)
    except (ConfigError, CorruptCellError) as error:
        return Estimate(value, None, None, f"no interval: {error.what}")
    n = units.value.shape[1]
    if n < LEAST_EXAMPLES:
        return Estimate(value, None, None, FEW, examples=n)
    value, found = float(scores.mean()) if units.left_out else value, interval_of_mean(scores)
    least = 0.0 if how.share else -math.inf if how.least is None else how.least
    most = 1.0 if how.share else math.inf
    said = said_over(n, [len(weights)], [scores])
    return Estimate(value, max(least, float(found.low)), min(most, float(found.high)), said, float(found.df), n)


def area_less(line: Line, other: Line, low: float, high: float, how: Scores | None, book: ScoreBook) -> str:
    """The difference of two rows' areas, paired by example, with its interval; ``-`` without an interval.

    Args:
        line: A row's curves over checkpoints.
        other: Those of the row that is subtracted.
        low: Begin of the range.
        high: End of the range.
        how: Columns of the single scores; None if the task does not name them.
        book: Reads the single scores.
    """
    if how is None:
        return "-"
    try:
        (mine, theirs), units = _scores([line, other], low, high, how, book)
    except (ConfigError, CorruptCellError):  # the row's own estimate says why
        return "-"
    if units.value.shape[1] < LEAST_EXAMPLES:
        return "-"
    trials = float(units.of.to_numpy().mean()) if how.share else 0.0
    found, _ = interval_of_difference(mine, theirs, trials)
    return in_column([(float(mine.mean() - theirs.mean()), float(found.low), float(found.high))])[0]


def _weights(line: Line, low: float, high: float) -> list[NDArray[np.float64]]:
    """The weights of the points of each seed."""
    return [area_weights([p.x for p in points], low, high) for points in line.seeds]


def _scores(
    lines: Sequence[Line], low: float, high: float, how: Scores, book: ScoreBook
) -> tuple[list[NDArray[np.float64]], UnitScores]:
    """The areas of the examples that all lines share: seeds x examples of each line, and the scores they are made of.

    Raises:
        ConfigError: The examples differ.
        CorruptCellError: Records differ from what was written.
    """
    units = book.of([e for line in lines for of_cell in line.evaluations for e in of_cell.values()], how)
    weights = [w for line in lines for w in _weights(line, low, high)]
    by_evaluation = pseudo_values(units.value.to_numpy(), units.of.to_numpy())
    ends = np.cumsum([len(w) for w in weights])[:-1]
    areas = np.stack([w @ of_cell for w, of_cell in zip(weights, np.split(by_evaluation, ends), strict=True)])
    return np.split(areas, np.cumsum([len(line.seeds) for line in lines])[:-1]), units


def area_table(curves: Curves, axis: str, book: ScoreBook, baseline: str | None = None) -> TextTable | None:
    """The areas under the curves of a setting, best first; None if its curves have no common range.

    Args:
        curves: Curves over checkpoints.
        axis: ``updates``, ``tokens`` or ``seconds``.
        book: Reads the single scores.
        baseline: Row that the others are compared with, as in :meth:`Row.is_named`.
    """
    every = [points for line in curves.lines for points in line.seeds]
    low, high = max((p[0].x for p in every), default=0.0), min((p[-1].x for p in every), default=0.0)
    if low >= high:
        return None
    metric = curves.first.primary["name"]
    sign = -1 if curves.first.primary["higher_is_better"] else 1
    found = [(line, area_of(line, low, high, curves.how, book)) for line in curves.lines]
    found.sort(key=lambda each: (sign * each[1].value, each[0].name))
    labelled = any(line.label for line, _ in found)
    named = [line for line, _ in found if baseline is not None and is_named(baseline, line.algorithm, line.label)]
    compared = named[0] if len(named) == 1 else None
    head = [
        "algorithm",
        *["differs in"] * labelled,
        "seeds",
        "points",
        "examples",
        f"mean {metric} [95 %]",
        *[f"less {baseline} [95 %]"] * (compared is not None),
        "at the end",
    ]

    def less(line: Line) -> list[str]:
        if compared is None:
            return []
        return ["-" if line is compared else area_less(line, compared, low, high, curves.how, book)]

    rows = [
        [
            line.algorithm,
            *[line.label] * labelled,
            brief_seeds([seed for c in line.evaluations if (seed := c[max(c)].cell.seed) is not None]) or "-",
            "; ".join(dict.fromkeys(str(len(points)) for points in line.seeds)),
            "-" if estimate.examples is None else str(estimate.examples),
            str(estimate),
            *less(line),
            f"{line.mean()[-1].value:.3f}" if line.mean() else "-",
        ]
        for line, estimate in found
    ]
    on = f" on {curves.first.split}" if curves.first.split else ""
    title = (
        f"{curves.first.task}{on}, mean {metric} over training: area under the curve, {AXES[axis]} {low:g} to {high:g}"
    )
    hows = dict.fromkeys(e.how for _, e in found)
    notes = [f"95 % intervals: {'; '.join(hows)}", "all curves are compared over the range that they share"]
    if compared is not None:
        notes.append("differences are paired by example, over examples and seeds, not corrected for the number of rows")
    elif len(named) > 1:
        notes.append(f"no differences: {counted(len(named), 'curve')} are named {baseline}")
    unequal = {len(points) for line in curves.lines for points in line.seeds}
    if len(unequal) > 1:
        notes.append("UNEQUAL points: between evaluations a curve is a straight line")
    return TextTable(title, text_frame(head, rows), notes)
