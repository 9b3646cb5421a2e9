"""Fronts on points whose envelope and area are known."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from shiqbench.report.front.area import best_points, envelope, interval, mean_gains, weights_of_resamples
from shiqbench.report.front.area import mean_gain as gain_of_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAR = 10.0


def mean_gain(distance: list[float], gain: list[float], farthest: float) -> float:
    """Of the front through the best of these points."""
    on = envelope(distance, gain)
    return gain_of_line([distance[i] for i in on], [gain[i] for i in on], farthest)


class Sweep:
    """Noisy answers of an algorithm whose gain saturates with the distance.

    Args:
        distance_P: True distance of each point.
        common_N: Effect of each prompt on all points of all algorithms.
        rng: Source of the noise.
    """

    def __init__(self, distance_P: NDArray[Any], common_N: NDArray[Any], rng: np.random.Generator) -> None:
        shape = (len(common_N), len(distance_P))
        self.distance_NP = distance_P * rng.gamma(4, 0.25, shape)
        self.gain_NP = saturating(distance_P) + common_N[:, None] + rng.normal(0, 0.5, shape)

    def gains(self, seed: int) -> NDArray[Any]:
        """The project's estimate and its resamples."""
        halves = weights_of_resamples(len(self.gain_NP), seed, resamples=60)
        x, y = ((halves[0] @ v, halves[1] @ v) for v in (self.distance_NP, self.gain_NP))
        return mean_gains(x, y, FAR)


def saturating(distance: NDArray[Any]) -> NDArray[Any]:
    """Gain at a distance."""
    found: NDArray[Any] = 0.3 * (1 - np.exp(-distance / 2))
    return found


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


@pytest.mark.parametrize("points", [1, 4, 12, 24])
def test_intervals_cover_however_many_points_there_are(points: int) -> None:
    """Choosing and measuring on the same prompts covers 21 % of the time with 24 points."""
    distance = np.linspace(FAR / points, FAR, points)
    truth = mean_gain(distance.tolist(), saturating(distance).tolist(), FAR)
    rng, covered, found = np.random.default_rng(points), 0, []
    for run in range(100):
        values = Sweep(distance, rng.normal(0, 0.3, 100), rng).gains(run)
        low, high = interval(values, 100)
        covered += low <= truth <= high
        found.append(values[0])
    assert covered >= 90
    assert np.mean(found) < truth + 0.01  # no gain from the number of points


def test_a_larger_sweep_of_one_gain_function_is_not_better() -> None:
    """15 points against 3 with the same gain at every distance."""
    rng, few = np.random.default_rng(5), np.array([2.0, 5.0, 10.0])
    significant = 0
    for run in range(100):
        common = rng.normal(0, 0.3, 100)
        many = Sweep(np.tile(few, 5), common, rng).gains(run) - Sweep(few, common, rng).gains(run)
        low, high = interval(many, 100)
        significant += not low <= 0 <= high
    assert significant <= 8  # 5 % and noise


def test_a_planted_difference_is_found() -> None:
    rng, few = np.random.default_rng(6), np.array([2.0, 5.0, 10.0])
    found = 0
    for run in range(20):
        common = rng.normal(0, 0.3, 100)
        better, worse = Sweep(few, common + 0.3, rng).gains(run), Sweep(few, common, rng).gains(run)
        found += interval(better - worse, 100)[0] > 0
    assert found >= 16


def test_the_best_point_is_measured_where_it_was_not_chosen() -> None:
    """30 points of value 0: the best of them is about 0, not about two standard errors."""
    rng, found = np.random.default_rng(7), []
    for run in range(60):
        halves = weights_of_resamples(40, run, resamples=2)
        gain, distance = rng.normal(size=(40, 30)), np.ones((40, 30))
        x, y = ((halves[0] @ v, halves[1] @ v) for v in (distance, gain))
        where, value = best_points(x, y)
        assert where[0] == pytest.approx(1.0)
        found.append(value[0])
    assert abs(np.mean(found)) < 3 * 1 / np.sqrt(40 * 60) * 1.5


def test_resamples_are_the_same_every_time_and_begin_with_the_sample() -> None:
    one, other = weights_of_resamples(31)
    assert one.shape == other.shape == (401, 31)
    for half in (one, other):
        assert np.allclose(half.sum(axis=1), 1)
    assert not np.any((one > 0) & (other > 0)[0])  # no prompt is in both halves
    assert np.all((one[0] > 0) | (other[0] > 0))
    assert all(map(np.array_equal, (one, other), weights_of_resamples(31)))
