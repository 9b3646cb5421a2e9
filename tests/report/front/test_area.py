"""Fronts on points whose envelope and area are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from shiqbench.report.front.area import envelope, mean_gain, mean_gains, percentiles, weights_of_resamples


def test_one_point_is_a_triangle() -> None:
    assert envelope([2.0], [3.0]) == [0]
    assert mean_gain([2.0], [3.0], 2.0) == pytest.approx(1.5)
    assert mean_gain([2.0], [3.0], 4.0) == pytest.approx((3.0 + 6.0) / 4)  # flat beyond the last point
    assert mean_gain([2.0], [3.0], 1.0) == pytest.approx(0.75)  # cut where the line is at 1.5


def test_points_below_the_lines_between_others_are_not_on_the_front() -> None:
    distance, gain = [1.0, 2.0, 4.0, 3.0, 5.0], [2.0, 2.5, 4.0, 1.0, 3.0]
    assert envelope(distance, gain) == [0, 2]
    assert mean_gain(distance, gain, 5.0) == pytest.approx((1.0 + 9.0 + 4.0) / 5)


def test_points_on_a_line_count_once_and_equal_points_too() -> None:
    assert envelope([1.0, 2.0], [1.0, 2.0]) == [1]
    assert envelope([1.0, 1.0], [2.0, 2.0]) == [0]
    assert envelope([1.0, 1.0], [2.0, 3.0]) == [1]


def test_where_nothing_is_gained_there_is_no_front() -> None:
    assert envelope([1.0, 2.0], [-1.0, 0.0]) == []
    assert mean_gain([1.0, 2.0], [-1.0, 0.0], 2.0) == 0.0


def test_more_points_never_cover_less() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        distance, gain = rng.random(8), rng.normal(size=8)
        areas = [mean_gain(distance[:n].tolist(), gain[:n].tolist(), 1.0) for n in range(1, 9)]
        assert all(b >= a - 1e-12 for a, b in pairwise(areas))


def test_the_envelope_is_the_best_mixture_of_any_two() -> None:
    rng = np.random.default_rng(1)
    distance, gain = rng.random(9), rng.normal(size=9)
    xs, ys = np.append(distance, 0.0), np.append(gain, 0.0)
    grid = np.linspace(0, 1, 4001)
    best = np.full(len(grid), -np.inf)
    for i in range(10):
        best = np.maximum(best, np.where(grid >= xs[i], ys[i], -np.inf))
        for j in range(10):
            if xs[i] < xs[j]:
                inside = (grid >= xs[i]) & (grid <= xs[j])
                line = ys[i] + (ys[j] - ys[i]) * (grid - xs[i]) / (xs[j] - xs[i])
                best = np.maximum(best, np.where(inside, line, -np.inf))
    assert mean_gain(distance.tolist(), gain.tolist(), 1.0) == pytest.approx(np.trapezoid(best, grid), abs=1e-4)


def test_the_bootstrap_covers() -> None:
    """Mean gain of one point at distance 1: half its mean value; 95 % intervals of 60 prompts."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        share = weights_of_resamples(60, resamples=400)
        value = share @ rng.normal(1.0, 1.0, size=(60, 1))
        low, high = percentiles(mean_gains(np.ones((401, 1)), value, 1.0)[1:])
        covered += low <= 0.5 <= high
    assert covered / 200 == pytest.approx(0.95, abs=0.05)


def test_resamples_are_the_same_every_time_and_begin_with_the_sample() -> None:
    share = weights_of_resamples(30)
    assert share.shape == (2001, 30)
    assert np.allclose(share[0], 1 / 30)
    assert np.allclose(share.sum(axis=1), 1)
    assert np.array_equal(share, weights_of_resamples(30))
