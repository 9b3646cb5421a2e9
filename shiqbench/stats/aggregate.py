r"""Aggregates of normalised scores over tasks, with 95 % intervals. Pure functions.

Scores of an algorithm are an array that ends in the axes runs (seeds), tasks; axes before these are independent cases.
The aggregates are those of R. Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 34. Their interval is a percentile bootstrap: runs are drawn again within each task. With three runs
it covers 70 to 90 % (its deviations are too small by the factor $\sqrt{(K-1)/K}$, and it has no Student's t). So here:

- the mean has a closed form: the variance of each task's mean, added up, with the degrees of freedom of F. E.
  Satterthwaite (1946), Biometrics Bulletin 2, 110-114;
- the interquartile mean and the optimality gap have the bootstrap with its deviations scaled by $\sqrt{K/(K-1)}$ and by
  Student's t of the same degrees of freedom over the normal quantile. The scaling is ours;
- the probability of improvement has the variance of the Mann-Whitney statistic, at least that of its chance;
- a share of runs has the interval of C. J. Clopper and E. S. Pearson (1934), Biometrika 26, 404-413, over all runs;
  it is cautious, because runs are drawn within tasks;
- the median of the tasks' means has no interval: with few tasks it is biased, and no interval covers.

``benchmarks/aggregates.py`` simulates all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from shiqbench.stats.intervals import Z_95
from shiqbench.stats.two_way import LEAST_SEEDS, Interval, Variance, quantile

Array = NDArray[np.float64]
Statistic = Callable[..., Array]

TRIMMED = 0.25  # of the runs, at each end of the interquartile mean
RESAMPLES = 2000  # the ends of an interval move by about 2 % of its length
AT_ONCE = 500_000  # numbers of one array


def mean(scores: Array) -> Array:
    """Return the mean over runs and tasks."""
    return np.asarray(scores.mean((-2, -1)))


def median(scores: Array) -> Array:
    """Return the median of the tasks' means."""
    return np.asarray(np.median(scores.mean(-2), -1))


def iqm(scores: Array) -> Array:
    """Return the interquartile mean: the mean of the middle half of all runs of all tasks, in whole runs."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    n = flat.shape[-1]
    cut = int(n * TRIMMED)
    if cut == 0:
        return np.asarray(flat.mean(-1))
    return np.asarray(np.partition(flat, (cut, n - cut - 1), -1)[..., cut : n - cut].mean(-1))


def optimality_gap(scores: Array) -> Array:
    """Return how much the runs lack to 1 on average; a run above 1 lacks nothing."""
    return np.asarray(1 - np.minimum(scores, 1.0).mean((-2, -1)))


def probability_of_improvement(one: Array, other: Array) -> Array:
    """Return the chance that a run of one algorithm is above a run of the other on the same task; a tie is one half.

    It is the Mann-Whitney statistic over the number of pairs, averaged over tasks.
    """
    return np.asarray(_wins(one, other).mean((-3, -2, -1)))


def profile(scores: Array, thresholds: Array) -> tuple[Array, Array, Array]:
    """Return a performance profile: the share of runs above each threshold, and its lower and upper end.

    Args:
        scores: Scores of one algorithm, without further axes.
        thresholds: Thresholds.
    """
    from scipy.special import betaincinv

    above, n = (scores.reshape(-1, 1) > thresholds).sum(0), scores.size
    low = np.where(above == 0, 0.0, betaincinv(np.maximum(above, 1), n - above + 1, 0.025))
    high = np.where(above == n, 1.0, betaincinv(above + 1, np.maximum(n - above, 1), 0.975))
    return above / n, low, high


def of_runs(scores: Array) -> Variance:
    """Return the variance of each task's mean over its runs."""
    runs, tasks = scores.shape[-2:]
    value = scores.var(-2, ddof=1) / runs
    return Variance(value, np.full((*scores.shape[:-2], tasks), runs - 1.0))


def interval_of_mean(scores: Array, spread: Variance) -> Interval:
    """Return Student's interval of the mean over tasks.

    Args:
        scores: Scores.
        spread: Variance of each task's mean, such as :func:`of_runs`, or one that also holds the task's examples.
    """
    value, df = mean(scores), _df(spread)
    half = quantile(df) * np.sqrt(spread.value.sum(-1)) / scores.shape[-1]
    return Interval(value - half, value + half, df)


def interval_of(statistic: Statistic, scores: Array, spread: Variance, resamples: int = RESAMPLES) -> Interval:
    """Return the bootstrap interval of a statistic of one algorithm, with its deviations scaled.

    Args:
        statistic: :func:`iqm` or :func:`optimality_gap`.
        scores: Scores of at least three runs, without further axes.
        spread: As in :func:`interval_of_mean`. What it holds in addition to the runs is an error that the runs of a
            task share; each resample draws it from a normal distribution.
        resamples: Number of resamples.
    """
    runs = scores.shape[-2]
    if runs < LEAST_SEEDS:
        raise ValueError(f"an interval needs at least {LEAST_SEEDS} runs, not {runs}")
    shared = np.sqrt(np.maximum(spread.value - of_runs(scores).value, 0.0) * (runs - 1) / runs)
    value, df = statistic(scores), _df(spread)
    low, high = np.percentile(bootstrap(statistic, scores, resamples=resamples, shared=shared), (2.5, 97.5))
    scale = quantile(df) / Z_95 * np.sqrt(runs / (runs - 1))
    low, high = value - scale * (value - low), value + scale * (high - value)
    return Interval(np.minimum(low, value), np.maximum(high, value), df)


def bootstrap(
    statistic: Statistic, *samples: Array, resamples: int = RESAMPLES, seed: int = 0, shared: Array | float = 0.0
) -> Array:
    """Return the statistic of resamples: runs are drawn with replacement within each task.

    Args:
        statistic: Function of as many arrays as there are samples.
        samples: Scores of an algorithm each, with the same tasks; they are drawn independently.
        resamples: Number of resamples.
        seed: Seed; equal seeds give equal resamples.
        shared: Standard error of each task that all its runs share.
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([statistic(*part) for part in _drawn(rng, samples, resamples, np.asarray(shared))])


def _drawn(
    rng: np.random.Generator, samples: tuple[Array, ...], resamples: int, shared: Array
) -> Iterator[list[Array]]:
    tasks = np.arange(samples[0].shape[-1])
    most = max(1, AT_ONCE // max(s.size for s in samples))
    for start in range(0, resamples, most):
        n, found = min(most, resamples - start), []
        for sample in samples:
            at = rng.integers(0, len(sample), (n, *sample.shape), dtype=np.uint16)
            found.append(sample.ravel()[at.astype(np.intp) * len(tasks) + tasks])
            if shared.any():
                found[-1] += shared * rng.normal(size=(n, 1, len(tasks)))
        yield found


def interval_of_improvement(one: Array, other: Array) -> Interval:
    """Return the interval of the probability of improvement, over the runs of each side that has several.

    The variance of each task is that of the runs' shares of wins, and at least what the Mann-Whitney statistic varies
    by chance: $p (1 - p) (K_1 + K_2 + 1) / (3 K_1 K_2)$ with one win and one loss added to p. With few runs, tasks in
    which one side always wins would otherwise seem certain. One run on a side counts as a constant.
    """
    wins, tasks = _wins(one, other), one.shape[-1]
    runs = [k for k in (one.shape[-2], other.shape[-2]) if k > 1]
    if not runs or min(runs) < LEAST_SEEDS:
        raise ValueError(f"an interval needs at least {LEAST_SEEDS} runs, not {runs}")
    sides = [wins.mean(-2), wins.mean(-3)]
    value = sum(s.var(-2, ddof=1) / s.shape[-2] for s in sides if s.shape[-2] > 1)
    least, share = min(runs), wins.mean((-3, -2))
    share = (share * least + 1) / (least + 2)
    chance = (sum(runs) + 1) / (3 * np.prod(runs)) if len(runs) == 2 else 1 / runs[0]
    total = np.maximum(value, share * (1 - share) * chance).sum(-1) / tasks**2
    found, df = wins.mean((-3, -2, -1)), np.full(total.shape, float(tasks * sum(k - 1 for k in runs)))
    half = quantile(df) * np.sqrt(total)
    return Interval(np.maximum(found - half, 0.0), np.minimum(found + half, 1.0), df)


def _wins(one: Array, other: Array) -> Array:
    """1 for a win, 0 for a loss, 1/2 for a tie: axes runs, runs of the other, tasks."""
    less = one[..., :, None, :] - other[..., None, :, :]
    found: Array = (np.sign(less) + 1) / 2
    return found


def _df(spread: Variance) -> Array:
    """Satterthwaite's degrees of freedom of the sum over tasks."""
    total, least = spread.value.sum(-1), spread.df.min(-1)
    squares = (spread.value**2 / spread.df).sum(-1)
    found = np.divide(total**2, squares, out=np.array(least, float), where=squares > 0)
    return np.asarray(np.maximum(found, least))
