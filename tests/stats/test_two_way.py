"""The variance over seeds and examples: by hand, against simpler estimators, and with the coverage that it promises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from shiqbench.stats.intervals import clustered_wilson, student, student_ratio
from shiqbench.stats.two_way import (
    interval_of_difference,
    interval_of_mean,
    interval_of_share,
    pseudo_values,
    variance,
)

Array = NDArray[np.float64]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def test_mean_squares_by_hand() -> None:
    # Seeds' means 1, 2, 3 and examples' means 1.5, 2.5, nothing left: MSs = 2 * 2 / 2, MSu = 3 * 0.5 / 1, MSr = 0.
    scores = np.array([[0.5, 1.5], [1.5, 2.5], [2.5, 3.5]])
    found = variance(scores)
    assert found.value == pytest.approx((2 + 1.5) / 6)
    assert found.df == pytest.approx(max(2, (2 + 1.5) ** 2 / (2**2 / 2 + 1.5**2)))


def test_the_variance_is_unbiased_where_no_floor_is_reached() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(4000, 4, 1)) + 2 * rng.normal(size=(4000, 1, 30)) + rng.normal(size=(4000, 4, 30))
    truth = 1 / 4 + 4 / 30 + 1 / 120
    assert variance(scores).value.mean() == pytest.approx(truth, rel=0.03)
    assert scores.mean((1, 2)).var() == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_students_interval_of_their_mean(seeds: int) -> None:
    scores = numbers(seeds, 20)
    found = interval_of_mean(scores)
    assert (found.low, found.high) == pytest.approx(student(scores.mean(0).tolist()))
    assert found.df == 19


def test_one_seed_has_the_interval_of_its_ratio() -> None:
    of = np.random.default_rng(2).integers(1, 8, (1, 30)).astype(float)
    value = of * numbers(1, 30)
    found = interval_of_mean(pseudo_values(value, of))
    assert (found.low, found.high) == pytest.approx(student_ratio(value[0].tolist(), of[0].tolist()))


@pytest.mark.parametrize("most", [1, 7])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_one_seed_of_a_share_has_the_clustered_wilson_interval(share: float, most: int) -> None:
    rng = np.random.default_rng(3)
    of = rng.integers(1, most + 1, 40)
    value = rng.binomial(of, share)
    found = interval_of_share(value[None].astype(float), of[None].astype(float))
    assert (found.low, found.high) == pytest.approx(clustered_wilson(value.tolist(), of.tolist()), abs=1e-9)


def test_equal_seeds_are_one_seed() -> None:
    one, other = numbers(1, 30), numbers(1, 30, seed=1)
    again, once = (interval_of_difference(np.repeat(one, k, 0), np.repeat(other, k, 0)) for k in (3, 1))
    assert (again[0].low, again[0].high, again[1]) == pytest.approx((once[0].low, once[0].high, once[1]))


def test_the_number_of_turns_is_no_agreement() -> None:
    """Two policies that are right in 9 of 10 turns share nothing but the scenarios' lengths."""
    rng = np.random.default_rng(4)
    of = rng.integers(1, 8, (300, 1, 50)).astype(float)
    one, other = (rng.binomial(of.astype(int), 0.9).astype(float) for _ in range(2))
    joint = [np.corrcoef(a[0], b[0])[0, 1] for a, b in zip(one, other, strict=True)]
    left = [np.corrcoef(a[0], b[0])[0, 1] for a, b in zip(*(pseudo_values(x, of) for x in (one, other)), strict=True)]
    assert np.mean(joint) > 0.75
    assert abs(np.mean(left)) < 0.03


@pytest.mark.parametrize("shares", [False, True])
def test_p_and_interval_are_one_statement(shares: bool) -> None:
    rng = np.random.default_rng(5)
    for k, l in ((1, 1), (2, 3), (3, 3), (3, 5), (5, 1)):  # noqa: E741
        of = np.ones((400, k, 12))
        one, other = (rng.binomial(1, q, (400, m, 12)).astype(float) for q, m in ((0.8, k), (0.4, l)))
        found, p = interval_of_difference(
            pseudo_values(one, of), pseudo_values(other, np.ones_like(other)), 1.0 if shares else 0.0
        )
        outside = (found.low > 0) | (found.high < 0)
        assert np.array_equal(outside, p < 0.05)
        assert 0 < outside.sum() < 400
        value = one.mean((1, 2)) - other.mean((1, 2))
        assert np.all((found.low <= value) & (value <= found.high))


def test_shares_end_inside_zero_and_one_and_never_have_no_width() -> None:
    rng = np.random.default_rng(6)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        of = rng.integers(1, 8, (200, 3, 10)).astype(float)
        shifted = np.clip(share + rng.choice([-0.3, 0.0, 0.3], (200, 3, 1)), 0, 1)
        value = rng.binomial(of.astype(int), shifted).astype(float)
        found = interval_of_share(value, of)
        assert np.all((found.low >= 0) & (found.high <= 1) & (found.low < found.high))
        scores = pseudo_values(value, of)
        assert np.all((found.low <= scores.mean((1, 2)) + 1e-9) & (scores.mean((1, 2)) <= found.high + 1e-9))
        less, _ = interval_of_difference(scores, scores[::-1], of.mean((1, 2)))
        assert np.all((less.low >= -1) & (less.high <= 1) & (less.low < less.high))


def test_two_rows_that_never_fail_differ_by_about_what_one_example_is_worth() -> None:
    scores = np.ones((1, 50))
    found, p = interval_of_difference(scores, scores, 1.0)
    assert (found.low, found.high) == pytest.approx((-0.0547, 0.0547), abs=1e-4)
    assert p == 1


def test_a_constant_difference_has_no_width_and_no_doubt() -> None:
    scores = numbers(3, 20)
    found, p = interval_of_difference(scores[:1] * 0 + 1, scores[:1] * 0)
    assert [float(x) for x in (found.low, found.high, p)] == [1, 1, 0]
    same, p = interval_of_difference(scores, scores[::-1])
    assert p == 1
    assert same.low < 0 < same.high


def turns(rng: np.random.Generator, runs: int, k: int, n: int, share: float, spread: float) -> tuple[Array, Array]:
    """Right turns of two algorithms, and turns: scenarios of 1-7 turns differ in difficulty, seeds in luck (logits)."""
    of = np.broadcast_to(rng.integers(1, 8, (runs, 1, n)), (runs, k, n))
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    grid = np.linspace(-9, 9, 2001)
    means = expit(grid[:, None] + np.sqrt(1.25 + spread**2) * nodes) @ (weights / weights.sum())
    middle = np.interp(share, means, grid)
    hard = middle + rng.normal(size=(1, runs, 1, n)) + 0.5 * rng.normal(size=(2, runs, 1, n))
    right = rng.binomial(of, expit(hard + spread * rng.normal(size=(2, runs, k, 1))))
    return right.astype(float), of.astype(float)


@pytest.mark.parametrize(("k", "spread"), [(1, 0.0), (3, 0.0), (3, 0.2), (5, 0.0), (5, 0.2)])
@pytest.mark.parametrize("share", [0.07, 0.3, 0.6, 0.9])
def test_intervals_of_shares_hold_the_truth(share: float, k: int, spread: float) -> None:
    """50 scenarios; with one seed the truth is that of its weights, so seeds do not vary there."""
    right, of = turns(np.random.default_rng(7), 1500, k, 50, share, spread)
    row = interval_of_share(right[0], of)
    assert 0.93 <= np.mean((row.low <= share) & (share <= row.high)) <= 0.985
    less, p = interval_of_difference(pseudo_values(right[0], of), pseudo_values(right[1], of), of.mean((1, 2)))
    assert 0.93 <= np.mean((less.low <= 0) & (less.high >= 0)) <= 0.99
    assert np.mean(p < 0.05) <= 0.065


@pytest.mark.parametrize("times", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("k", [3, 5, 10])
def test_intervals_of_means_hold_the_truth(k: int, times: float) -> None:
    """Seeds' variance is a multiple of an evaluation's variance over its 40 examples."""
    rng = np.random.default_rng(8)
    shape = (2, 1500, k, 40)
    scores = rng.normal(size=(2, 1500, 1, 40)) + rng.normal(size=shape)
    scores += np.sqrt(2 * times / 40) * rng.normal(size=(2, 1500, k, 1))
    row = interval_of_mean(scores[0])
    assert 0.93 <= np.mean((row.low <= 0) & (row.high >= 0)) <= 0.975
    less, _ = interval_of_difference(scores[0], scores[1])
    assert 0.935 <= np.mean((less.low <= 0) & (less.high >= 0)) <= 0.98
    seed_by_seed = interval_of_mean(scores[0] - scores[1])
    if k == 3 and times == 4:
        assert (less.high - less.low).mean() < 0.9 * (seed_by_seed.high - seed_by_seed.low).mean()


def test_more_seeds_find_more() -> None:
    rng = np.random.default_rng(9)
    found = []
    for k in (1, 3, 5, 10):
        scores = rng.normal(size=(1, 800, 1, 50)) + 0.7 * rng.normal(size=(2, 800, 1, 50))
        scores = scores + rng.normal(size=(2, 800, k, 50))
        scores[0] += 0.6
        found.append(np.mean(interval_of_difference(scores[0], scores[1])[1] < 0.05))
    assert found == sorted(found)


def test_students_t_is_what_the_quantiles_are() -> None:
    scores = numbers(3, 25)
    found, spread = interval_of_mean(scores), variance(scores)
    half = stats.t.ppf(0.975, spread.df) * np.sqrt(spread.value)
    assert found.high - scores.mean() == pytest.approx(half)
