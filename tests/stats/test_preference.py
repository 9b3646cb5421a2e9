"""Win rates: what they are on cases that are known, and what length control takes away."""

from __future__ import annotations

import math
import random

import pytest

from shiqbench.stats.preference import length_controlled, win_rate


def test_a_tie_counts_one_half_and_no_pair_tells_nothing() -> None:
    assert win_rate([1, 1, 0, 0.5])[0] == 0.625
    assert win_rate([]) == (0.5, 0.0, 1.0)
    rate, low, high = win_rate([1.0] * 20)
    assert rate == high == 1
    assert 0.8 < low < 0.9


def test_equal_lengths_leave_the_win_rate_as_it_is_but_for_the_prior() -> None:
    preferences = [1.0] * 300 + [0.0] * 100
    rate, low, high = length_controlled(preferences, [0.0] * 400)
    assert rate == pytest.approx(0.75, abs=0.002)
    half = 1.96 / math.sqrt(400 * 0.75 * 0.25)
    assert (low, high) == pytest.approx((1 / (1 + math.exp(half) / 3), 1 / (1 + math.exp(-half) / 3)), abs=0.003)


def test_wins_that_come_of_length_alone_are_taken_away() -> None:
    chance = random.Random(0)
    differences = [chance.gauss(1.0, 1.0) for _ in range(4000)]
    preferences = [float(chance.random() < 1 / (1 + math.exp(-2 * math.tanh(d / math.sqrt(2))))) for d in differences]
    assert win_rate(preferences)[1] > 0.6
    rate, low, high = length_controlled(preferences, differences)
    assert low < 0.5 < high
    assert rate == pytest.approx(0.5, abs=0.04)


def test_lengths_that_separate_wins_from_losses_stay_finite() -> None:
    rate, low, high = length_controlled([1.0] * 30 + [0.0] * 30, [1.0] * 30 + [-1.0] * 30)
    assert 0 <= low < rate < high <= 1
    assert rate == pytest.approx(0.5, abs=1e-6)


def test_a_missing_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="2 preferences, 1 differences"):
        length_controlled([1, 0], [3])
