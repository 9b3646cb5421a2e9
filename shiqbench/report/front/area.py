"""Fronts of points with a distance and a gain, and the area below them. Pure functions on arrays.

A front is the upper concave envelope of an algorithm's points and of the origin, which has gain 0 at distance 0. A
mixture that answers a share of the prompts with one policy and the rest with another has the value on the line between
them. Its distance is at most the distance on that line, because the divergence is convex.

The best of several noisy points looks too good on the prompts on which it was chosen. So the points of a front are
chosen on one half of the prompts and measured on the other half, both ways, and the two areas are averaged.

Legend: P points, N prompts, R resamples.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Halves = tuple[Floats, Floats]

RESAMPLES = 400
FEWEST = 20  # prompts; with fewer, the halves are too small for an interval


def envelope(distance_P: Sequence[float], gain_P: Sequence[float]) -> list[int]:
    """Indices of the points on the front, by rising distance and gain; empty if nothing is gained."""
    order = sorted(range(len(gain_P)), key=lambda i: (distance_P[i], -gain_P[i]))
    on: list[int] = []
    corners = [(0.0, 0.0)]
    for i in order:
        x, y = distance_P[i], gain_P[i]
        if y <= corners[-1][1]:
            continue
        while on and not _turns_down(corners[-2], corners[-1], (x, y)):
            corners.pop()
            on.pop()
        corners.append((x, y))
        on.append(i)
    return on


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether the slope from b to c is lower than the slope from a to b."""
    return (b[1] - a[1]) * (c[0] - b[0]) > (c[1] - b[1]) * (b[0] - a[0])


def mean_gain(distance_P: Sequence[float], gain_P: Sequence[float], farthest: float) -> float:
    """Area below the line from the origin through these points up to ``farthest``, divided by ``farthest``."""
    points = sorted(zip(distance_P, gain_P, strict=True))
    xs, ys = [0.0, *(x for x, _ in points)], [0.0, *(y for _, y in points)]
    edge = float(np.interp(farthest, xs, ys))  # beyond the last point the line is flat
    inside = [(x, y) for x, y in zip(xs, ys, strict=True) if x < farthest]
    corners = [*inside, (farthest, edge)]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(corners))
    return float(area / farthest)


def mean_gains(distance: Halves, gain: Halves, farthest: float) -> Floats:
    """Mean gain of the front of every resample, [R]: chosen on one half and measured on the other, both ways.

    Args:
        distance: Mean distances of each half, [R, P].
        gain: Mean gains of each half, [R, P].
        farthest: Distance up to which the gain is averaged.
    """

    def measured(x: list[float], y: list[float], on: list[int]) -> float:
        return mean_gain([x[i] for i in on], [y[i] for i in on], farthest)

    return _both_ways(distance, gain, envelope, measured)


def best_points(distance: Halves, gain: Halves) -> Halves:
    """Distance and gain of the best point of every resample, [R] each: chosen and measured as in mean_gains.

    Args:
        distance: Mean distances of each half, [R, P].
        gain: Mean gains of each half, [R, P].
    """

    def best(_: Sequence[float], y: Sequence[float]) -> list[int]:
        return [max(range(len(y)), key=y.__getitem__)]

    return (
        _both_ways(distance, gain, best, lambda x, _, on: x[on[0]]),
        _both_ways(distance, gain, best, lambda _, y, on: y[on[0]]),
    )


def _both_ways(
    distance: Halves,
    gain: Halves,
    choose: Callable[[list[float], list[float]], list[int]],
    measure: Callable[[list[float], list[float], list[int]], float],
) -> Floats:
    (x, other_x), (y, other_y) = ([half.tolist() for half in both] for both in (distance, gain))
    there = [measure(c, d, choose(a, b)) for a, b, c, d in zip(x, y, other_x, other_y, strict=True)]
    back = [measure(a, b, choose(c, d)) for a, b, c, d in zip(x, y, other_x, other_y, strict=True)]
    averaged: Floats = (np.array(there) + np.array(back)) / 2
    return averaged


def weights_of_resamples(prompts: int, seed: int = 0, resamples: int = RESAMPLES) -> Halves:
    """Weight of every prompt in every resample of each half, [R, N]; the first row is the sample itself.

    Each half is resampled for itself, so no prompt is in both.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(prompts)
    halves = []
    for at in (shuffled[::2], shuffled[1::2]):
        share: Floats = np.zeros((resamples + 1, prompts), dtype=np.float64)
        share[0, at] = 1.0
        share[1:, at] = rng.multinomial(len(at), [1 / len(at)] * len(at), size=resamples)
        halves.append(share / len(at))
    return halves[0], halves[1]


def interval(values_R: Floats, prompts: int) -> tuple[float, float]:
    """95 % interval of the first value: Student's, with the deviation of the resamples as the standard error."""
    from scipy.special import stdtrit

    half = float(stdtrit(prompts - 2, 0.975)) * float(np.std(values_R[1:], ddof=1))
    return float(values_R[0]) - half, float(values_R[0]) + half
