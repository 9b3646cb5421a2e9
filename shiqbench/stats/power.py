r"""The smallest difference that a comparison of two rows can find, before it is made. Pure functions.

Two rows of $K$ seeds on the same $n$ examples differ by a mean with the variance $V = \sigma_s^2/K + \sigma_e^2/n +
\sigma_r^2/(nK)$: seeds and rest of both rows, and examples of the paired difference (see
:mod:`shiqbench.stats.two_way`). If scores are normal, the mean squares of that test are independent, and each is a
multiple of a chi-square (S. R. Searle, G. Casella and C. E. McCulloch, Variance Components, 1992, chapter 4). So the
power of the report's own test is an average over chi-squares: it is taken over :data:`POINTS` points, which fill the
unit cube evenly. A noncentral t with the expected degrees of freedom would be an approximation of the same: the test
estimates its degrees of freedom too.

With one or two seeds the test is about these weights: $V = (\sigma_e^2 + \sigma_r^2/K)/n$. That is another statement,
and finds smaller differences than three seeds can. From three seeds on, more seeds find no less.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shiqbench.stats.intervals import LEAST_EXAMPLES
from shiqbench.stats.two_way import LEAST_SEEDS, Parts, combined, left_over_seeds, over_examples, parts

if TYPE_CHECKING:
    from shiqbench.stats.two_way import Array

POWER = 0.8
POINTS = 1024  # then the power is good to 0.003
MOST_SEEDS = 100  # more are never advised
MOST_EXAMPLES = 100_000  # as above
_TINY = 1e-24  # what rounding leaves of the variance of equal seeds


class Components(NamedTuple):
    """Components of the variance of one difference of two rows, for a single seed and a single example.

    Attributes:
        seeds: Variance over seeds, the sum of both rows; None if no row had two seeds: then it is unknown.
        examples: Variance over examples of the paired difference.
        rest: Variance of the rest, the sum of both rows; without two seeds it is in ``examples``.
        rows: Number of the two rows whose seeds vary; each has an equal part.
        shares: What the two examples that the test adds to shares make up: 2 / (trials of an example) squared; 0 for
            means.
        common: The part of an example's variance in one row that all seeds of the row share.
    """

    seeds: float | None
    examples: float
    rest: float
    rows: int = 2
    shares: float = 0.0
    common: float = 1.0


def components(one: Array, other: Array, trials: float = 0.0) -> Components:
    """Estimate the components from the pseudo-values of two rows; without bias, so a component may be below 0.

    Args:
        one: Pseudo-values of a row: seeds, examples.
        other: Pseudo-values of another row, for the same examples.
        trials: Mean number of trials per example, if both are shares; 0 if they are not.
    """
    n, sides = one.shape[-1], [p for p in (parts(one), parts(other)) if p.k > 1]
    rest = sum(float(p.rest) * p.k * n for p in sides)
    left = sum(float(p.rest) for p in sides)
    examples = n * (float(over_examples(one, other)) - left)
    seeds = sum(float(p.seeds - p.rest) * p.k for p in sides) if sides else None
    common = np.mean([_common(side) for side in (one, other)])
    varying = sum(float(p.seeds + p.rest) > _TINY for p in sides)
    return Components(seeds, examples, rest, max(1, varying), 2 / trials**2 if trials else 0.0, float(common))


def unrelated(one: Array, other: Array, trials: float = 0.0) -> Components:
    """Estimate the components of two rows as if they shared nothing: each row's own variance over examples counts."""
    none = np.zeros((1, one.shape[-1]))
    examples = sum(components(side, none).examples for side in (one, other))
    return components(one, other, trials)._replace(examples=examples)


def _common(side: Array) -> float:
    k = side.shape[-2]
    return 1.0 if k == 1 else max(0.0, (float(left_over_seeds(side)) - 1 / k) / (1 - 1 / k))


def positive(c: Components) -> Components:
    """Return components of which none is below 0."""
    seeds = None if c.seeds is None else max(0.0, c.seeds)
    return c._replace(seeds=seeds, examples=max(0.0, c.examples), rest=max(0.0, c.rest))


def detectable(c: Components, seeds: int, examples: int, level: float = 0.05, power: float = POWER) -> float:
    """Return the smallest difference that the two-sided test finds with this power.

    Where the variance over seeds is unknown, it is the difference of these weights, with any number of seeds.

    Args:
        c: Components, none below 0.
        seeds: Number of seeds of each row; with one or two, the difference is one of these weights.
        examples: Number of examples, which both rows share.
        level: Level of the test.
        power: Probability that it finds the difference.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, stdtrit

    n, k, rows = examples, seeds, c.rows if seeds >= LEAST_SEEDS and c.seeds is not None else 0
    over, of_seed, rest = (c.examples + c.rest / k) / n, (c.seeds or 0.0) / k * bool(rows), c.rest / (n * k)
    truth = over + of_seed
    if truth == 0:
        return 0.0
    squares = _mean_squares(k, n, rows)
    sides = [
        Parts(s * (of_seed + rest) / rows, r * rest / rows, k)
        for s, r in zip(squares[1::2], squares[2::2], strict=True)
    ]
    found = combined(squares[0] * over, n, *sides)
    added = c.shares * (c.common + (1 - c.common) / k) / n**2
    wanted = -stdtrit(found.df, level / 2) * np.sqrt((found.value + added) / truth)
    missed = lambda shift: float(np.mean(ndtr(shift - wanted) + ndtr(-shift - wanted))) - power  # noqa: E731
    return float(brentq(missed, 0.0, float(wanted.max()) + 10) * np.sqrt(truth))


@lru_cache(maxsize=512)
def _mean_squares(k: int, n: int, rows: int) -> Array:
    """Mean squares over their mean at each point: of examples, then of seeds and of rest of each row."""
    from scipy.special import chdtri

    freedoms = np.array([n - 1, *([k - 1, (k - 1) * (n - 1)] * rows)])[:, None]
    # The generalised golden ratio of M. Roberts (2018), "The unreasonable effectiveness of quasirandom sequences".
    size = len(freedoms)
    ratio = max(np.roots([1, *[0] * (size - 1), -1, -1]).real)
    steps = ratio ** -np.arange(1.0, size + 1)[:, None]
    found: Array = chdtri(freedoms, (0.5 + steps * np.arange(1, POINTS + 1)) % 1) / freedoms
    return found


def seeds_needed(c: Components, wished: float, examples: int, level: float = 0.05) -> int | None:
    """Return the fewest seeds, at least three, that find the wished difference; None if 100 do not."""
    counts = range(LEAST_SEEDS, MOST_SEEDS + 1)
    at = bisect_left(counts, True, key=lambda k: detectable(c, k, examples, level) <= wished)
    return counts[at] if at < len(counts) else None


def examples_needed(c: Components, wished: float, seeds: int, level: float = 0.05) -> int | None:
    """Return the fewest examples, at least ten, that find the wished difference; None if 100,000 do not.

    With three seeds and a low level, very many examples find less than some: seeds then rule the degrees of freedom.
    So the search goes up by steps.
    """

    def finds(n: int) -> bool:
        return detectable(c, seeds, n, level) <= wished

    low = most = LEAST_EXAMPLES
    while not finds(most):
        low, most = most, 2 * most
        if most > MOST_EXAMPLES:
            return None
    return low + bisect_left(range(low, most), True, key=finds)
