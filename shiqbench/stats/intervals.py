"""Confidence intervals for shares and means, and the sign test. Pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEAST_EXAMPLES = 10  # the fewest that were simulated; with fewer, no number has an interval
Z_95 = 1.959963984540054  # 97.5 % point of the standard normal


def wilson(successes: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Source: E. B. Wilson (1927), JASA 22, 209-212; recommended over the textbook interval for small ``n`` and
    shares near 0 and 1 by Brown, Cai and DasGupta (2001), Statistical Science 16, 101-133.

    Args:
        successes: Number of successes; may be fractional (see :func:`clustered_wilson`).
        n: Number of trials; with 0 trials the interval is [0, 1].
        z: Normal quantile; the default is for 95 %.

    Returns:
        Lower and upper end; the lower end is exactly 0 without successes, the upper end exactly 1 without failures.

    Raises:
        ValueError: ``0 <= successes <= n`` is false.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if successes == n else min(1.0, (centre + half) / scale)
    return low, high


def effective_trials(successes_per_cluster: Sequence[float], n_per_cluster: Sequence[float]) -> float:
    """Return the number of independent trials that contain as much information as these clustered trials.

    ``n / deff``: the design effect (L. Kish, Survey Sampling, 1965) is the linearised variance of the ratio
    ``sum s / sum n`` over clusters, divided by the variance under independent trials. It is at least 1.
    If all trials agree, it cannot be estimated; then each cluster counts as one trial, which is conservative.

    Raises:
        ValueError: The two sequences differ in length, or a cluster has more successes than trials.
    """
    pairs = [(s, n) for s, n in zip(successes_per_cluster, n_per_cluster, strict=True) if n or s]
    if any(not 0 <= s <= n for s, n in pairs):
        raise ValueError("a cluster has more successes than trials")
    clusters, total = len(pairs), float(sum(n for _, n in pairs))
    if clusters == 0:
        return 0.0
    share = sum(s for s, _ in pairs) / total
    if clusters == 1 or share in (0.0, 1.0):
        return float(clusters)
    residuals = math.fsum((s - share * n) ** 2 for s, n in pairs)
    clustered = clusters / (clusters - 1) * residuals / total**2
    independent = share * (1 - share) / (total - 1)
    return total / max(1.0, clustered / independent)


def clustered_wilson(
    successes_per_cluster: Sequence[float], n_per_cluster: Sequence[float], level: float = 0.95
) -> tuple[float, float]:
    """Return the Wilson interval of a share whose trials come in clusters, such as the turns of an episode.

    It is the Wilson interval on the effective number of trials, with t of (clusters - 1) degrees of freedom, after
    E. L. Korn and B. I. Graubard (1998), Survey Methodology 24, 193-201. With one trial per cluster no variance between
    clusters is estimated, and it equals :func:`wilson`. One cluster of several trials says nothing: [0, 1].

    Args:
        successes_per_cluster: Number of successes in each cluster.
        n_per_cluster: Number of trials in each cluster, in the same order; empty clusters are ignored.
        level: Probability that the interval holds the share.
    """
    from scipy.special import ndtri, stdtrit  # imported late: commands without such an interval do not wait for it

    effective, clusters = effective_trials(successes_per_cluster, n_per_cluster), sum(n > 0 for n in n_per_cluster)
    single = all(n <= 1 for n in n_per_cluster)
    if effective == 0 or (clusters == 1 and not single):
        return 0.0, 1.0
    share = sum(successes_per_cluster) / sum(n_per_cluster)
    q = (1 + level) / 2
    return wilson(share * effective, effective, float(ndtri(q) if single else stdtrit(clusters - 1, q)))


def joined(value: float, *intervals: tuple[float, float]) -> tuple[float, float]:
    """Combine intervals, one for each of several independent causes of error, into one interval.

    The squared distances from the value are added on each side, as in G. Y. Zou and A. Donner (2008), Statistics
    in Medicine 27, 1693-1702. An interval that is longer on one side stays longer there.
    """
    low = math.sqrt(math.fsum((value - a) ** 2 for a, _ in intervals))
    high = math.sqrt(math.fsum((b - value) ** 2 for _, b in intervals))
    return value - low, value + high


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of a mean over independent values.

    Raises:
        ValueError: There are fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two values, not {n}")
    from scipy.special import stdtrit  # imported late: commands without such an interval do not wait for it

    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def sign_test(better: int, worse: int) -> float:
    """Return the two-sided p-value of the exact sign test: the chance of so uneven a split if both are equally likely.

    Args:
        better: Number of pairs in which the first is above the second.
        worse: Number of pairs in which the first is below the second; ties count for neither.
    """
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / (1 << n)
    return min(1.0, 2 * tail)


def student_ratio(values: Sequence[float], weights: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of ``sum(values) / sum(weights)`` over independent pairs, such as nats per token.

    It uses the linearised variance of a ratio (W. G. Cochran, Sampling Techniques, 1977, section 2.11).

    Raises:
        ValueError: There are fewer than two pairs, the two differ in length, or the weights have no positive sum.
    """
    total = math.fsum(weights)
    if total <= 0:
        raise ValueError("the weights have no positive sum")
    ratio, mean = math.fsum(values) / total, total / len(weights)
    low, high = student([(v - ratio * w) / mean for v, w in zip(values, weights, strict=True)], level)
    return ratio + low, ratio + high


def with_interval(
    name: str,
    value: float,
    interval: Callable[..., tuple[float, float]],
    examples: Sequence[float],
    *more: Sequence[float],
) -> dict[str, float]:
    """Return a metric and the ends of its 95 % interval, or only the metric with fewer than :data:`LEAST_EXAMPLES`.

    Args:
        name: Name of the metric; the ends are ``NAME_low`` and ``NAME_high``.
        value: Its value.
        interval: Function of this module that gives the interval, such as :func:`student`.
        examples: First argument of that function: one number per example.
        more: Its further arguments.
    """
    if len(examples) < LEAST_EXAMPLES:
        return {name: value}
    low, high = interval(examples, *more)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
