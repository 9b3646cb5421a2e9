"""A row's value over its seeds, and its difference from a baseline, each with a 95 % interval.

Two things vary: the training, which several seeds repeat, and the examples, which all seeds share. An evaluation's own
interval is over its examples (Wilson's for a share, Student's for a mean). With several seeds, Student's t over the
seeds' values is joined to it. An interval over seeds only has no width if training is exact. An interval over examples
only ignores that one seed may be lucky. A percentile bootstrap over few seeds is too short (over three seeds it
contains the truth about 75 times in 100), so none is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.stats.intervals import difference, joined, sign_test, student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        low: Lower end of the interval; None if there is too little data for one.
        high: Upper end of the interval; None like ``low``.
        how: Text that says what the interval is over.
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
    """Three decimals, or two significant digits if the number is nonzero and below 0.001 in size."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


@dataclass(frozen=True)
class Difference:
    """The difference of a row from the baseline.

    Attributes:
        estimate: Mean difference over seeds of the mean over examples.
        seeds: Number of pairs of seeds.
        units: Number of examples, which both share; None if only seeds are compared.
        better: Number of examples (or seeds, if only these are compared) where the mean over seeds is better.
        worse: Number of those where it is worse.
        p: p-value of the exact two-sided sign test.
        left_out: Example -> the reason why it is left out on both sides.
    """

    estimate: Estimate
    seeds: int
    units: int | None
    better: int
    worse: int
    p: float
    left_out: Mapping[str, str] = field(default_factory=dict)


def over_seeds(evaluations: Sequence[EvaluationEntry]) -> Estimate:
    """Estimate the value of a row.

    Args:
        evaluations: Evaluations, one per seed.
    """
    values = [float(e.primary["value"]) for e in evaluations]
    value, (low, high) = fmean(values), _over_examples(evaluations)
    if not math.isfinite(value):
        return Estimate(value, None, None, "no interval: a value is not finite")
    if len(values) == 1:
        return Estimate(value, low, high, ONE_SEED)
    return Estimate(value, *joined(value, (low, high), student(values)), _over(len(values)))


def _over_examples(evaluations: Sequence[EvaluationEntry]) -> tuple[float, float]:
    """Mean lower end and mean upper end of the evaluations' own intervals."""
    return fmean(float(e.primary["low"]) for e in evaluations), fmean(float(e.primary["high"]) for e in evaluations)


def _over(seeds: int) -> str:
    return ONE_SEED if seeds == 1 else f"over examples and {seeds} seeds"


def _over_seeds(seeds: int) -> str:
    return f"over {seeds} seeds" if seeds > 1 else "none with one seed and no score per example"


def against(
    row: Sequence[EvaluationEntry], baseline: Sequence[EvaluationEntry], how: Scores | None, book: ScoreBook
) -> Difference | None:
    """Subtract the baseline from a row, seed by seed and example by example; None without a common seed or example.

    An algorithm that trains nothing has no seed; it is paired with every seed.

    Args:
        row: Evaluations of the row, one per seed.
        baseline: Evaluations of the baseline, one per seed.
        how: Columns of the single scores; None if the task does not name them: then only seeds are compared.
        book: Reads the single scores.
    """
    pairs = _pairs(row, baseline)
    if how is None:
        pairs = [(a, b) for a, b in pairs if math.isfinite(a.primary["value"] - b.primary["value"])]
    if not pairs:
        return None
    mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    by_seed = [float(a.primary["value"]) - float(b.primary["value"]) for a, b in pairs]
    value, intervals = fmean(by_seed), [student(by_seed)] if len(pairs) > 1 else []
    signs, units, said = by_seed, None, _over_seeds(len(pairs))
    left_out: Mapping[str, str] = {}
    if how is not None:
        both = book.both(mine, theirs, how)
        if both is None or both[0].value.empty:
            return None
        one, other = (side.means() for side in both)
        left_out = both[0].left_out
        if left_out:
            by_seed = (one.to_numpy().mean(axis=1) - other.to_numpy().mean(axis=1)).tolist()
            value, intervals = fmean(by_seed), [student(by_seed)] if len(pairs) > 1 else []
        a, b = one.to_numpy().mean(axis=0), other.to_numpy().mean(axis=0)
        signs, units, said = (a - b).tolist(), len(a), _over(len(pairs))
        if how.share:
            intervals.append(difference(_share(mine), _share(theirs), _correlation(a, b)))
        elif units > 1:
            intervals.append(student(signs))
    low, high = joined(value, *intervals) if intervals else (None, None)
    higher = 1 if row[0].primary["higher_is_better"] else -1
    better, worse = (sum(higher * side * d > SAME for d in signs) for side in (1, -1))
    return Difference(
        Estimate(value, low, high, said), len(pairs), units, better, worse, sign_test(better, worse), left_out
    )


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
    """Correlation of two rows' scores over examples; 0 if one row has equal scores for all of them."""
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
