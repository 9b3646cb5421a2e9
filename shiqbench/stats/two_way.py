r"""One variance for a mean over seeds and examples, for the difference of two, and for the p-value of that.

All seeds of a row are evaluated on the same examples. The score of seed $k$ on example $i$ has a part of the seed, a
part of the example, and a rest. The mean squares of seeds, examples and rest (two-way analysis of variance) give

$$ V = (MS_{seeds} + MS_{examples} - MS_{rest}) / (nK), $$

which is unbiased for $\sigma_s^2/K + \sigma_e^2/n + \sigma_r^2/(nK)$; it is at least $\max(MS_{seeds},
MS_{examples})/(nK)$. Student's t has the degrees of freedom of F. E. Satterthwaite (1946), Biometrics Bulletin 2,
110-114, at least $K-1$. Source of the mean squares: S. R. Searle, G. Casella and C. E. McCulloch, Variance Components
(1992), chapter 4. The least degrees of freedom and the floor are ours; ``benchmarks/coverage.py`` simulates all of it.

Two rows are paired example by example, but not seed by seed: their seeds hardly correlate, and each row adds its own
degrees of freedom. If their seeds do correlate, the interval is too long, never too short.

Arrays end in the axes seeds, examples; axes before these are independent cases. Pure functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shiqbench.stats.intervals import Z_95

LEAST_SEEDS = 3  # with fewer, an interval is for these weights: t of one degree of freedom is 12.7, and covers badly

Array = NDArray[np.float64]


class Variance(NamedTuple):
    """The variance of an estimate.

    Attributes:
        value: The variance.
        df: Degrees of freedom of Student's t.
    """

    value: Array
    df: Array


class Interval(NamedTuple):
    """A 95 % interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        df: Degrees of freedom of its t.
    """

    low: Array
    high: Array
    df: Array


def pseudo_values(value: Array, of: Array) -> Array:
    """Return scores whose mean over examples is the ratio ``sum(value) / sum(of)`` of each seed.

    They are the ratio plus its residuals ``(value - ratio * of) / mean(of)``, so their variance is the linearised
    variance of a ratio (W. G. Cochran, Sampling Techniques, 1977, section 2.11). Rows that have only the number of
    trials of an example in common do not correlate.
    """
    ratio = value.sum(-1, keepdims=True) / of.sum(-1, keepdims=True)
    found: Array = ratio + (value - ratio * of) / of.mean(-1, keepdims=True)
    return found


class Parts(NamedTuple):
    """What one row adds to the variance of a mean.

    Attributes:
        seeds: The mean square of seeds, over the number of scores.
        rest: The mean square of the rest, over the number of scores.
        k: Number of seeds.
    """

    seeds: Array
    rest: Array
    k: int


def variance(*sides: Array) -> Variance:
    """Return the variance of the mean of one row, or of the difference of the means of two rows.

    A row of fewer than three seeds adds no part over seeds: the variance is then for its weights as they are.

    Args:
        sides: Pseudo-values of one row or of two rows with the same examples; they may have other numbers of seeds.
    """
    return combined(over_examples(*sides), sides[0].shape[-1], *map(parts, sides))


def over_examples(*sides: Array) -> Array:
    """Return the variance of the mean over examples of a row, or of the paired difference of two rows."""
    found: Array = (sides[0].mean(-2) - sum(side.mean(-2) for side in sides[1:])).var(-1, ddof=1) / sides[0].shape[-1]
    return found


def parts(side: Array) -> Parts:
    """Return the parts of a row of at least two seeds; a row of one seed has none, so they are 0."""
    k, n = side.shape[-2:]
    of_seed = side.mean(-1, keepdims=True)
    if k == 1:
        return Parts(0 * of_seed[..., 0, 0], 0 * of_seed[..., 0, 0], 1)
    residuals = side - of_seed - side.mean(-2, keepdims=True) + side.mean((-2, -1), keepdims=True)
    rest = (residuals**2).sum((-2, -1)) / ((k - 1) * (n - 1) * n * k)
    return Parts(of_seed[..., 0].var(-1, ddof=1) / k, rest, k)


def combined(examples: Array, n: int, *sides: Parts) -> Variance:
    """Return the variance that these parts make.

    Args:
        examples: The variance of the mean over examples.
        n: Number of examples.
        sides: Parts of each row; those of fewer than three seeds do not count.
    """
    seeds, rest, squares, least = 0.0 * examples, 0.0 * examples, examples**2 / (n - 1), n - 1
    for s, r, k in sides:
        if k < LEAST_SEEDS:
            continue
        seeds, rest = seeds + s, rest + r
        squares = squares + s**2 / (k - 1) + r**2 / ((k - 1) * (n - 1))
        least = min(least, k - 1)
    value = np.maximum(seeds + examples - rest, np.maximum(seeds, examples))
    df = np.divide(value**2, squares, out=np.full_like(value, n - 1), where=squares > 0)
    return Variance(value, np.maximum(df, least))


def interval_of_mean(scores: Array) -> Interval:
    """Return Student's interval of the mean of a row's pseudo-values."""
    value, spread = scores.mean((-2, -1)), variance(scores)
    half = quantile(spread.df) * np.sqrt(spread.value)
    return Interval(value - half, value + half, spread.df)


def interval_of_share(value: Array, of: Array) -> Interval:
    """Return the Wilson interval of a share on the number of independent trials that its variance is worth.

    After E. L. Korn and B. I. Graubard (1998), Survey Methodology 24, 193-201, with t in place of the normal quantile.
    The variance is at least that of independent trials. If all trials agree, each example counts as one trial. One
    seed with one trial an example has Wilson's own interval: its variance follows from the share.

    Args:
        value: Successes.
        of: Trials.
    """
    scores = pseudo_values(value, of)
    share, spread = scores.mean((-2, -1)), variance(scores)
    share, trials, n = np.clip(share, 0.0, 1.0), of.sum((-2, -1)), of.shape[-1]
    inside = np.where((share <= _TINY) | (share >= 1 - _TINY), 0.0, share * (1 - share))
    least = inside / (trials - 1)
    effective = np.divide(trials * least, np.maximum(spread.value, least), out=np.full_like(share, n), where=inside > 0)
    df = np.where((of.max((-2, -1)) <= 1) & (of.shape[-2] == 1), np.inf, spread.df)
    q = quantile(df)
    scale = 1 + q**2 / effective
    centre = (share + q**2 / (2 * effective)) / scale
    half = q * np.sqrt(inside / effective + q**2 / (4 * effective**2)) / scale
    low, high = np.where(share <= _TINY, 0.0, centre - half), np.where(share >= 1 - _TINY, 1.0, centre + half)
    return Interval(np.maximum(low, 0.0), np.minimum(high, 1.0), df)


def interval_of_difference(one: Array, other: Array, trials: float | Array = 0.0) -> tuple[Interval, Array]:
    """Return the interval of the difference of two rows, and its p-value: below 0.05 if 0 is outside, and only then.

    For shares, two examples are added, in which one trial more is right and one trial less. So two rows that never
    fail still have an interval. Source: D. G. Bonett and R. M. Price (2012), Journal of Educational and Behavioral
    Statistics 37, 479-488, for pairs of single trials; here with the variance of this module.

    Args:
        one: Pseudo-values of a row.
        other: Pseudo-values of the subtracted row, for the same examples.
        trials: Mean number of trials per example, if both are shares; 0 if they are not.
    """
    from scipy.special import stdtr

    found, spread, n = one.mean((-2, -1)) - other.mean((-2, -1)), variance(one, other), one.shape[-1]
    centre, value, shares = found, spread.value, bool(np.all(trials))
    if shares:
        left = (left_over_seeds(one) + left_over_seeds(other)) / 2
        centre, value = found * n / (n + 2), (n**2 * value + 2 * left / np.square(trials)) / (n + 2) ** 2
    half = quantile(spread.df) * np.sqrt(value)
    low, high = np.minimum(centre - half, found), np.maximum(centre + half, found)
    if shares:
        low, high = np.maximum(low, -1.0), np.minimum(high, 1.0)
    none = np.where(np.abs(centre) > _TINY, np.inf, 0.0)
    t = np.divide(np.abs(centre), np.sqrt(value), out=none, where=value > _TINY**2)
    return Interval(low, high, spread.df), 2 * stdtr(spread.df, -t)


_TINY = 1e-12


def left_over_seeds(scores: Array) -> Array:
    """Return the part of an example's variance that is left in its mean over seeds: 1 / K if these are independent."""
    of_seed, of_mean = scores.var(-1).mean(-1), scores.mean(-2).var(-1)
    found: Array = np.divide(of_mean, of_seed, out=np.ones_like(of_seed), where=of_seed > _TINY)
    return found


def quantile(df: Array) -> Array:
    """Return the 97.5 % point of Student's t; with infinite degrees of freedom that of the normal distribution."""
    from scipy.special import stdtrit

    finite = np.isfinite(df)
    found: Array = np.where(finite, stdtrit(np.where(finite, df, 1.0), 0.975), Z_95)
    return found
