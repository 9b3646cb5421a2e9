"""Win rates: what they are on cases that are known, and what length control takes away."""

from __future__ import annotations

import math
import random
from statistics import stdev

import pytest

from shiqbench.stats.preference import win_rate, win_rate_at_equal_length


def test_a_tie_counts_one_half_and_no_pair_tells_nothing() -> None:
    assert win_rate([1, 1, 0, 0.5])[0] == 0.625
    assert win_rate([]) == (0.5, 0.0, 1.0)
    rate, low, high = win_rate([1.0] * 20)
    assert rate == high == 1
    assert 0.8 < low < 0.9


def test_equal_lengths_leave_the_win_rate_as_it_is_but_for_the_prior() -> None:
    preferences = [1.0] * 300 + [0.0] * 100
    rate, low, high = win_rate_at_equal_length(preferences, [0.0] * 400)
    assert rate == pytest.approx(0.75, abs=0.002)
    half = 1.96 / math.sqrt(400 * 0.75 * 0.25)
    assert (low, high) == pytest.approx((1 / (1 + math.exp(half) / 3), 1 / (1 + math.exp(-half) / 3)), abs=0.003)


def test_wins_that_come_of_length_alone_are_taken_away() -> None:
    chance = random.Random(0)
    differences = [chance.gauss(1.0, 1.0) for _ in range(4000)]
    preferences = [float(chance.random() < 1 / (1 + math.exp(-2 * math.tanh(d)))) for d in differences]
    assert win_rate(preferences)[1] > 0.6
    rate, low, high = win_rate_at_equal_length(preferences, differences)
    assert low < 0.5 < high
    assert rate == pytest.approx(0.5, abs=0.04)


def test_lengths_that_separate_wins_from_losses_stay_finite() -> None:
    rate, low, high = win_rate_at_equal_length([1.0] * 30 + [0.0] * 30, [1.0] * 30 + [-1.0] * 30)
    assert 0 <= low < rate < high <= 1
    assert rate == pytest.approx(0.5, abs=1e-6)


def test_a_missing_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="2 preferences, 1 differences"):
        win_rate_at_equal_length([1, 0], [3])


def drawn(chance: random.Random, n: int, truth: float, ties: float) -> tuple[list[float], list[float]]:
    """Preferences that length sways by AlpacaEval's term, and differences of mean 600 and deviation 300."""
    differences = [chance.gauss(600, 300) for _ in range(n)]
    spread, offset = stdev(differences), math.log(truth / (1 - truth))
    odds = [1 / (1 + math.exp(-(offset + math.tanh(d / spread)))) for d in differences]
    return [0.5 if chance.random() < ties else float(chance.random() < p) for p in odds], differences


def test_the_length_term_is_the_difference_over_its_standard_deviation() -> None:
    """The root mean square about 0 as the unit would give 0.61 here: a bias towards the longer."""
    rate, low, high = win_rate_at_equal_length(*drawn(random.Random(1), 20_000, 0.55, 0.0))
    assert rate == pytest.approx(0.55, abs=0.03)
    assert low < 0.55 < high


@pytest.mark.parametrize("ties", [0.0, 0.4])
def test_intervals_hold_the_truth_and_ties_do_not_widen_them(ties: float) -> None:
    """A tie counts one half, so the curve that ties flatten is the truth: at equal length one half."""
    chance, runs, held = random.Random(2), 300, 0
    for _ in range(runs):
        _, low, high = win_rate_at_equal_length(*drawn(chance, 200, 0.5, ties))
        held += low <= 0.5 <= high
    assert 0.92 * runs <= held <= 0.975 * runs


def test_only_ties_are_an_even_rate_with_a_width() -> None:
    rate, low, high = win_rate_at_equal_length([0.5] * 20, [float(i) for i in range(20)])
    assert rate == pytest.approx(0.5)
    assert 0.3 < low < 0.5 < high < 0.7
