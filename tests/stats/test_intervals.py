"""Intervals against published and independently computed values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest

from shiqbench.stats.intervals import clustered_wilson, effective_trials, sign_test, student, wilson


def test_wilson_known_values() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-5)  # 3.8416 / 13.8416
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    successes = min(successes, n)
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes in"):
        wilson(successes, n)


def test_single_trials_per_cluster_are_plain_wilson() -> None:
    outcomes = [1, 0, 0, 1, 1, 0, 1]
    assert effective_trials(outcomes, [1] * 7) == pytest.approx(7)
    assert clustered_wilson(outcomes, [1] * 7) == pytest.approx(wilson(4, 7))


def test_identical_trials_inside_a_cluster_count_once() -> None:
    """Ten clusters of four equal turns hold about ten trials' worth of knowledge, not forty."""
    successes, sizes = [4, 0] * 5, [4] * 10
    effective = effective_trials(successes, sizes)
    assert effective == pytest.approx(10, abs=1)
    low, high = clustered_wilson(successes, sizes)
    plain = wilson(20, 40)
    assert low < plain[0]
    assert high > plain[1]


def test_design_effect_by_hand() -> None:
    # p = 4/8; residuals 3 - 2 = 1 and 1 - 2 = -1; deff = (2/1 * 2 / 64) / (0.25 / 7) = 1.75
    assert effective_trials([3, 1], [4, 4]) == pytest.approx(8 / 1.75)


def test_negative_correlation_is_not_rewarded() -> None:
    assert effective_trials([1, 1, 1], [2, 2, 2]) == 6


def test_agreement_counts_clusters() -> None:
    t = float(stats.t.ppf(0.975, 1))
    assert clustered_wilson([0, 0], [4, 4]) == pytest.approx(wilson(0, 2, t))
    assert clustered_wilson([4, 4], [4, 4]) == pytest.approx(wilson(2, 2, t))


def test_empty_and_single_clusters() -> None:
    assert clustered_wilson([], []) == (0.0, 1.0)
    assert clustered_wilson([0, 1, 0], [0, 2, 2]) == clustered_wilson([1, 0], [2, 2])
    assert effective_trials([1], [4]) == 1
    assert clustered_wilson([1], [4]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="more successes"):
        clustered_wilson([2], [1])


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 19, 100])
def test_student_agrees_with_scipy(freedom: int) -> None:
    values = [0.3 * k**1.5 for k in range(freedom + 1)]
    expected = stats.t.interval(0.95, freedom, loc=sum(values) / len(values), scale=stats.sem(values))
    assert student(values) == pytest.approx(expected, rel=1e-10)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="an interval needs at least two values, not 1"):
        student([0.5])


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_agrees_with_scipy(better: int, worse: int) -> None:
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(expected, rel=1e-9)
