"""Fronts of points with a distance and a gain, and the area below them. Pure functions on arrays.

A front is the upper concave envelope of an algorithm's points and of the origin, which has gain 0 at distance 0. A
mixture that answers a share of the prompts with one policy and the rest with another has the value on the line between
them. Its distance is at most the distance on that line, because the divergence is convex.

Legend: P points, N prompts, R resamples.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
FEWEST = 20  # prompts; with fewer, a percentile interval is too short


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
    """Area below the front up to ``farthest``, divided by ``farthest``."""
    on = envelope(distance_P, gain_P)
    xs, ys = [0.0, *(distance_P[i] for i in on)], [0.0, *(gain_P[i] for i in on)]
    edge = float(np.interp(farthest, xs, ys))  # beyond the last point the front is flat
    inside = [(x, y) for x, y in zip(xs, ys, strict=True) if x < farthest]
    corners = [*inside, (farthest, edge)]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(corners))
    return float(area / farthest)


def mean_gains(distance_RP: Floats, gain_RP: Floats, farthest: float) -> Floats:
    """:func:`mean_gain` of every resample, [R]."""
    both = zip(distance_RP.tolist(), gain_RP.tolist(), strict=True)
    return np.array([mean_gain(distances, gains, farthest) for distances, gains in both])


def weights_of_resamples(prompts: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Share of every prompt in every resample, [R, N]; the first row is the sample itself."""
    counts = np.random.default_rng(seed).multinomial(prompts, [1 / prompts] * prompts, size=resamples)
    return np.concatenate((np.ones((1, prompts)), counts)).astype(np.float64) / np.float64(prompts)


def percentiles(values_R: Floats) -> tuple[float, float]:
    """95 % percentile interval of a bootstrap."""
    low, high = np.percentile(values_R, [2.5, 97.5])
    return float(low), float(high)
