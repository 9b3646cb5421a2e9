"""A row's value over its seeds, and its difference from a baseline, each with a 95 % interval.

Two things vary: the training, which seeds repeat, and the examples, which all seeds share. An evaluation's own interval
is over its examples (Wilson's for a share, Student's for a mean); with several seeds Student's t over the seeds' values
is joined to it. Seeds alone would have no width where training is exact, examples alone would take one lucky seed for
knowledge. A percentile bootstrap over few seeds is too short (three of them hold the truth about 75 times in 100), so
none is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.stats.intervals import difference, joined, sign_test, student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shiqbench.plugin.task import Scores
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import EvaluationEntry

ONE_SEED = "over examples, one seed"
SAME = 1e-12  # scores that differ by less are equal


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The number.
        low: None where there is too little for an interval.
        high: Likewise.
        how: What the interval is over.
    """

    value: float
    low: float | None
    high: float | None
    how: str

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return short_number(self.value)
        return f"{short_number(self.value)} [{short_number(self.low)}, {short_number(self.high)}]"


def short_number(value: float) -> str:
    """Three decimals, or two digits of what they would not show."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


@dataclass(frozen=True)
class Difference:
    """A row less the baseline.

    Attributes:
        estimate: Mean over seeds of the mean over examples.
        seeds: Pairs of seeds.
        units: Examples that both were given; None where seeds alone are compared.
        better: Examples (seeds without them) with the better mean over seeds.
        worse: With the worse.
        p: Of the exact two-sided sign test.
    """

    estimate: Estimate
    seeds: int
    units: int | None
    better: int
    worse: int
    p: float


def over_seeds(evaluations: Sequence[EvaluationEntry]) -> Estimate:
    """The value of a row.

    Args:
        evaluations: One per seed.
    """
    values = [float(e.primary["value"]) for e in evaluations]
    value, (low, high) = fmean(values), _over_examples(evaluations)
    if len(values) == 1:
        return Estimate(value, low, high, ONE_SEED)
    return Estimate(value, *joined(value, (low, high), student(values)), _over(len(values)))


def _over_examples(evaluations: Sequence[EvaluationEntry]) -> tuple[float, float]:
    """What the evaluations' own intervals say, on average."""
    return fmean(float(e.primary["low"]) for e in evaluations), fmean(float(e.primary["high"]) for e in evaluations)


def _over(seeds: int) -> str:
    return ONE_SEED if seeds == 1 else f"over examples and {seeds} seeds"


def against(
    row: Sequence[EvaluationEntry], baseline: Sequence[EvaluationEntry], how: Scores | None, book: ScoreBook
) -> Difference | None:
    """A row less the baseline, seed by seed and example by example; None without a common seed.

    What trains nothing has no seed and is paired with every one.

    Args:
        row: One evaluation per seed.
        baseline: The same.
        how: Where single scores are; None where the task does not tell, and then seeds alone are compared.
        book: Reads them.
    """
    pairs = _pairs(row, baseline)
    if not pairs:
        return None
    mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    by_seed = [float(a.primary["value"]) - float(b.primary["value"]) for a, b in pairs]
    value, intervals = fmean(by_seed), [student(by_seed)] if len(pairs) > 1 else []
    signs, units, said = by_seed, None, f"over {len(pairs)} seeds"
    if how is not None:
        one, other = (book.of(side, how).means() for side in (mine, theirs))
        if not one.columns.equals(other.columns):
            return None
        a, b = one.to_numpy().mean(axis=0), other.to_numpy().mean(axis=0)
        signs, units, said = (a - b).tolist(), len(a), _over(len(pairs))
        if how.share:
            intervals.append(difference(_share(mine), _share(theirs), _correlation(a, b)))
        elif units > 1:
            intervals.append(student(signs))
    low, high = joined(value, *intervals) if intervals else (None, None)
    higher = 1 if row[0].primary["higher_is_better"] else -1
    better, worse = (sum(higher * side * d > SAME for d in signs) for side in (1, -1))
    return Difference(Estimate(value, low, high, said), len(pairs), units, better, worse, sign_test(better, worse))


def _share(evaluations: Sequence[EvaluationEntry]) -> tuple[float, float, float]:
    """Value, low and high over examples."""
    return fmean(float(e.primary["value"]) for e in evaluations), *_over_examples(evaluations)


def _pairs(
    row: Sequence[EvaluationEntry], baseline: Sequence[EvaluationEntry]
) -> list[tuple[EvaluationEntry, EvaluationEntry]]:
    of_baseline = {e.cell.seed: e for e in baseline}
    if None in of_baseline:
        return [(e, of_baseline[None]) for e in row]
    if [e.cell.seed for e in row] == [None]:
        return [(row[0], e) for e in baseline]
    return [(e, of_baseline[e.cell.seed]) for e in row if e.cell.seed in of_baseline]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of two rows' scores over examples; none where one of them is the same for all."""
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
