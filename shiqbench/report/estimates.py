"""A row's value over its seeds, and its difference from a baseline, each with a 95 % interval.

Two things vary: the training, which several seeds repeat, and the examples, which all seeds share. One variance holds
both, for a row, for a difference and for its p-value: see :mod:`shiqbench.stats.two_way`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, variance
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.base.errors import CorruptCellError
from shiqbench.base.words import counted
from shiqbench.report.numbers import in_column
from shiqbench.stats.intervals import LEAST_EXAMPLES, joined, student
from shiqbench.stats.power import components, unrelated
from shiqbench.stats.two_way import (
    LEAST_SEEDS,
    interval_of_difference,
    interval_of_mean,
    interval_of_share,
    pseudo_values,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from shiqbench.plugin.task import Scores
    from shiqbench.report.scores import ScoreBook, UnitScores
    from shiqbench.stats.power import Components
    from shiqbench.store.index import EvaluationEntry

SAME = 1e-12  # scores that differ by less are equal
THESE, THE_WEIGHTS = "these weights", "the weights of"  # of all sides that train, or of one
ONCE = "seeds gave equal results (as exact training does), so they count as one"
FEW = f"no interval: fewer than {LEAST_EXAMPLES} examples"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The number.
        low: Lower end of the interval; None if there is too little data for one.
        high: Upper end of the interval; None like ``low``.
        how: Text that says what the interval is over.
        df: Degrees of freedom of the interval's t; None without an interval, or if it is not made by a t.
        examples: Number of examples; None if they are not known.
    """

    value: float
    low: float | None
    high: float | None
    how: str
    df: float | None = None
    examples: int | None = None

    def __str__(self) -> str:
        return in_column([(self.value, self.low, self.high)])[0]


@dataclass(frozen=True)
class Difference:
    """The difference of a row from the baseline.

    Attributes:
        estimate: Value of the row less value of the baseline, on the examples that both have.
        seeds: Number of evaluations of the row.
        baseline_seeds: Number of evaluations of the baseline.
        units: Number of examples, which both share; None if the task does not name its single scores.
        better: Number of examples where the mean over seeds is better; None like ``units``.
        worse: Number of those where it is worse.
        p: p-value by the variance of the interval: below 0.05 if the interval leaves out 0; None without an interval.
        left_out: Example -> the reason why it is left out on both sides.
        p_holm: p-value corrected for all comparisons of the table; None like ``p``.
        components: Components of its variance; None without an interval over examples.
        cautious: The same as if the two rows shared nothing; None like ``components``.
        trained_seeds: The fewer seeds of the two rows; a row that nothing trains does not count.
    """

    estimate: Estimate
    seeds: int
    baseline_seeds: int
    units: int | None = None
    better: int | None = None
    worse: int | None = None
    p: float | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    p_holm: float | None = None
    components: Components | None = None
    cautious: Components | None = None
    trained_seeds: int = 1

    @property
    def of_weights(self) -> bool:
        """Whether it says nothing about other seeds: a side that varies with its seed has too few of them."""
        return THESE in self.estimate.how or THE_WEIGHTS in self.estimate.how


def over_seeds(evaluations: Sequence[EvaluationEntry], how: Scores | None, book: ScoreBook) -> Estimate:
    """Estimate the value of a row.

    Args:
        evaluations: Evaluations, one per seed.
        how: Columns of the single scores; None if the task does not name them.
        book: Reads the single scores.
    """
    value = fmean(float(e.primary["value"]) for e in evaluations)
    if not math.isfinite(value):
        return Estimate(value, None, None, "no interval: a value is not finite")
    if how is None:
        return _without_scores(value, evaluations)
    try:
        units = book.of(evaluations, how)
    except CorruptCellError as error:
        return Estimate(value, None, None, f"no interval: {error.what}")
    n = units.value.shape[1]
    if n < LEAST_EXAMPLES:
        return Estimate(value, None, None, FEW, examples=n)
    scores, (a, b) = _pseudo_values(units), (units.value.to_numpy(), units.of.to_numpy())
    value = float(scores.mean()) if units.left_out else value
    found = interval_of_share(a, b) if how.share else interval_of_mean(scores)
    least = -math.inf if how.least is None else how.least
    out = f", {counted(len(units.left_out), 'example')} left out: not scored in every seed" if units.left_out else ""
    said = said_over(n, [_seeds(evaluations)], [scores]) + out
    return Estimate(value, max(least, float(found.low)), float(found.high), said, float(found.df), n)


def against(
    row: Sequence[EvaluationEntry], baseline: Sequence[EvaluationEntry], how: Scores | None, book: ScoreBook
) -> Difference | None:
    """Subtract the baseline from a row, example by example; None if they have no common example.

    Every seed of both counts: seeds of two rows are not paired.

    Args:
        row: Evaluations of the row, one per seed.
        baseline: Evaluations of the baseline, one per seed.
        how: Columns of the single scores; None if the task does not name them: then only seeds are compared.
        book: Reads the single scores.

    Raises:
        CorruptCellError: Records differ from what was written.
    """
    if how is None:
        return _of_values(row, baseline)
    both = book.both(row, baseline, how)
    if both is None or both[0].value.empty:
        return None
    a, b = (_pseudo_values(side) for side in both)
    value, n, (mine, theirs) = float(a.mean() - b.mean()), a.shape[1], both
    signs = (mine.per_unit() - theirs.per_unit()).to_numpy() * (1 if row[0].primary["higher_is_better"] else -1)
    counts = int((signs > SAME).sum()), int((signs < -SAME).sum())
    if n < LEAST_EXAMPLES:
        found = Estimate(value, None, None, FEW, examples=n)
        return Difference(found, len(row), len(baseline), n, *counts, None, mine.left_out)
    trials = float(np.mean([mine.of.to_numpy().mean(), theirs.of.to_numpy().mean()])) if how.share else 0.0
    interval, p = interval_of_difference(a, b, trials)
    said = said_over(n, [_seeds(row), _seeds(baseline)], [a, b])
    found = Estimate(value, float(interval.low), float(interval.high), said, float(interval.df), n)
    seeds = min((k for k in (_seeds(row), _seeds(baseline)) if k), default=1)
    spread = components(a, b, trials), unrelated(a, b, trials)
    return Difference(found, len(row), len(baseline), n, *counts, float(p), mine.left_out, None, *spread, seeds)


def as_if_unrelated(row: Sequence[EvaluationEntry], how: Scores, book: ScoreBook) -> Difference:
    """The difference, 0, of a row from another one of the same variance that shares nothing with it.

    Args:
        row: Evaluations of the row, one per seed.
        how: Columns of the single scores.
        book: Reads the single scores.

    Raises:
        CorruptCellError: Records differ from what was written.
    """
    units = book.of(row, how)
    scores, n = _pseudo_values(units), units.value.shape[1]
    said = Estimate(0.0, None, None, "of one row")
    trials = float(units.of.to_numpy().mean()) if how.share else 0.0
    parts = None if n < LEAST_EXAMPLES else unrelated(scores, scores, trials)
    return Difference(said, len(row), len(row), n, components=parts, trained_seeds=_seeds(row) or 1)


def _pseudo_values(units: UnitScores) -> NDArray[np.float64]:
    return pseudo_values(units.value.to_numpy(), units.of.to_numpy())


def _seeds(evaluations: Sequence[EvaluationEntry]) -> int:
    """Number of seeds; 0 if nothing is trained."""
    return sum(e.cell.seed is not None for e in evaluations)


def said_over(examples: int, seeds: Sequence[int], scores: Sequence[NDArray[np.float64]]) -> str:
    """What an interval is over: the seeds of each side that trains, if there are enough of them and they differ."""
    equal = [k > 1 and float(np.ptp(s, axis=0).max()) <= SAME * max(1.0, float(np.abs(s).max()))
             for k, s in zip(seeds, scores, strict=True)]  # fmt: skip
    varied = [k for k, same in zip(seeds, equal, strict=True) if k >= LEAST_SEEDS and not same]
    few = [k for k, same in zip(seeds, equal, strict=True) if 0 < k < LEAST_SEEDS and not same]
    said = f"over {examples} examples"
    if varied:
        said += f" and {' against '.join(map(str, dict.fromkeys(varied)))} seeds"
    if few:
        numbers = " and ".join(counted(k, "seed") for k in dict.fromkeys(few))
        said += f", {THESE} of {numbers}" if not varied else f", {THE_WEIGHTS} {numbers} as they are"
    if once := dict.fromkeys(str(k) for k, same in zip(seeds, equal, strict=True) if same):
        said += ", the other's " if varied else ", "
        said += f"{' and '.join(once)} {ONCE}"
    return said


def _without_scores(value: float, evaluations: Sequence[EvaluationEntry]) -> Estimate:
    """From the evaluations' own intervals; with enough seeds, t over their values is joined, which is cautious."""
    k, values = len(evaluations), [float(e.primary["value"]) for e in evaluations]
    ends = [(e.primary["low"], e.primary["high"]) for e in evaluations]
    if any(end is None for interval in ends for end in interval):
        return Estimate(value, None, None, "no interval: the evaluations give none")
    low, high = (fmean(found) for found in zip(*ends, strict=True))
    if k > 1 and max(values) - min(values) <= SAME * max(1.0, abs(value)):
        return Estimate(value, low, high, f"over examples, {k} {ONCE}")
    if k < LEAST_SEEDS:
        return Estimate(value, low, high, "over examples" + (f", {THESE}" if _seeds(evaluations) else ""))
    low, high = joined(value, (low, high), student(values))
    return Estimate(value, low, high, f"over examples and {k} seeds, cautious: the task names no single scores")


def _of_values(row: Sequence[EvaluationEntry], baseline: Sequence[EvaluationEntry]) -> Difference | None:
    """Compare the seeds' values only: Welch's t."""
    from scipy.special import stdtr, stdtrit

    sides = [[float(e.primary["value"]) for e in side] for side in (row, baseline)]
    value = fmean(sides[0]) - fmean(sides[1])
    if not math.isfinite(value):
        return None
    few = any(0 < _seeds(side) < LEAST_SEEDS for side in (row, baseline))
    parts = [(variance(v) / len(v), len(v) - 1) for v in sides if len(v) >= LEAST_SEEDS]
    total = sum(part for part, _ in parts)
    if few or not total:
        said = "no interval: the task names no single scores, and there are too few different seeds"
        return Difference(Estimate(value, None, None, said), len(row), len(baseline))
    df = total**2 / sum(part**2 / freedom for part, freedom in parts)
    half, p = float(stdtrit(df, 0.975)) * math.sqrt(total), 2 * float(stdtr(df, -abs(value) / math.sqrt(total)))
    said = f"over {' against '.join(str(len(v)) for v in sides)} seeds, not over examples"
    return Difference(Estimate(value, value - half, value + half, said, df), len(row), len(baseline), p=p)
