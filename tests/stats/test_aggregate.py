"""Aggregates over tasks: by hand, against rliable, and with the coverage that they promise."""

from __future__ import annotations

from typing import Any

import aggregates
import numpy as np
import pytest
from scipy import stats

from shiqbench.stats.aggregate import (
    Array,
    bootstrap,
    interval_of,
    interval_of_improvement,
    interval_of_mean,
    iqm,
    mean,
    median,
    normalised,
    of_runs,
    optimality_gap,
    probability_of_improvement,
    profile,
)
from shiqbench.stats.two_way import Variance, variance


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0.5, 0.4, shape)


@pytest.fixture(scope="module")
def rliable() -> Any:
    pytest.importorskip("rliable.metrics", reason="rliable, the oracle, is not installed")
    return aggregates.load_rliable()


def ends(of: Any) -> list[float]:
    return [float(of.low), float(of.high)]


def test_the_aggregates_by_hand() -> None:
    scores = np.array([[0.0, 0.2, 2.0], [0.4, 0.2, 1.0]])
    assert mean(scores) == pytest.approx(3.8 / 6)
    assert median(scores) == pytest.approx(0.2)
    assert iqm(scores) == pytest.approx((0.2 + 0.2 + 0.4 + 1.0) / 4)  # one of six at each end
    assert optimality_gap(scores) == pytest.approx(1 - (0.0 + 0.4 + 0.2 + 0.2 + 1 + 1) / 6)
    other = np.array([[0.2, 0.2, 0.0]])
    assert probability_of_improvement(scores, other) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_cases_in_front_are_independent() -> None:
    scores = numbers(4, 5, 3)
    for statistic in (mean, median, iqm, optimality_gap):
        assert statistic(scores).tolist() == pytest.approx([float(statistic(s)) for s in scores])
    found = interval_of_mean(scores, of_runs(scores))
    assert found.low[2] == pytest.approx(interval_of_mean(scores[2], of_runs(scores[2])).low)


@pytest.mark.parametrize("shape", [(3, 1), (2, 2), (3, 2), (5, 4), (10, 26)])
def test_rliable_gives_the_same_values(rliable: Any, shape: tuple[int, int]) -> None:
    metrics, scores = rliable[1], numbers(*shape)
    ours = [float(f(scores)) for f in (mean, median, iqm, optimality_gap)]
    named = ("mean", "median", "iqm", "optimality_gap")
    assert ours == pytest.approx([float(getattr(metrics, f"aggregate_{n}")(scores)) for n in named])
    other = numbers(4, shape[1], seed=1).round(1)
    assert probability_of_improvement(scores.round(1), other) == pytest.approx(
        metrics.probability_of_improvement(scores.round(1), other)
    )
    thresholds = np.linspace(0, 1, 11)
    assert profile(scores, thresholds)[0] == pytest.approx(rliable[0].score_distributions(scores, thresholds))


def test_rliable_gives_the_same_bootstrap(rliable: Any) -> None:
    np.random.seed(0)  # rliable draws from numpy's global generator
    library, metrics = rliable
    one, other = numbers(5, 6), numbers(4, 6, seed=1)
    for ours, theirs, samples in (
        (iqm, metrics.aggregate_iqm, (one,)),
        (optimality_gap, metrics.aggregate_optimality_gap, (one,)),
        (probability_of_improvement, metrics.probability_of_improvement, (one, other)),
    ):
        found = np.percentile(bootstrap(ours, *samples, resamples=20_000), (2.5, 97.5))
        sample: Any = samples if len(samples) > 1 else samples[0]
        _, expected = library.get_interval_estimates(
            {"a": sample}, lambda *s, f=theirs: np.array([f(*s)]), reps=200 if len(samples) > 1 else 1000
        )
        length = found[1] - found[0]
        assert found.tolist() == pytest.approx(expected["a"].ravel().tolist(), abs=0.12 * length), ours


def test_rliable_is_at_least_ten_times_slower_on_its_own_workload(rliable: Any) -> None:
    for name, (theirs, ours) in aggregates.speed(5_000, 400, part=10).items():
        assert theirs > 10 * ours, name


def test_one_task_has_students_interval() -> None:
    scores = numbers(6, 1)
    low, high = stats.t.interval(0.95, 5, loc=scores.mean(), scale=stats.sem(scores[:, 0]))
    found = interval_of_mean(scores, of_runs(scores))
    assert (*ends(found), float(found.df)) == pytest.approx((low, high, 5))


def test_equal_tasks_add_their_degrees_of_freedom() -> None:
    scores = np.array([[0.0, 1.0, 0.5], [0.2, 1.2, 0.7], [0.4, 1.4, 0.9]])
    assert interval_of_mean(scores, of_runs(scores)).df == pytest.approx(6)
    assert interval_of_mean(np.ones((3, 2)), of_runs(np.ones((3, 2)))).df == 2


def test_normalised_scores_are_0_at_the_base_and_1_at_the_top() -> None:
    base = numbers(1, 20) + 5
    assert normalised(base, base, 0.0).mean() == pytest.approx(0)
    assert normalised(0 * base, base, 0.0) == pytest.approx(np.ones((1, 20)))
    runs = numbers(3, 20, seed=1)
    assert normalised(runs, base, 9.0).mean(-1) == pytest.approx(1 - (9 - runs.mean(-1)) / (9 - base.mean()))


def test_equal_seeds_give_equal_resamples_and_each_task_keeps_its_runs() -> None:
    scores = np.array([[0.0, 10.0], [1.0, 11.0]])
    once = bootstrap(lambda s: s, scores, resamples=50)
    assert (once == bootstrap(lambda s: s, scores, resamples=50)).all()
    assert set(once[..., 0].ravel()) == {0.0, 1.0}
    assert set(once[..., 1].ravel()) == {10.0, 11.0}
    assert (once != bootstrap(lambda s: s, scores, resamples=50, seed=1)).any()
    assert len(bootstrap(iqm, numbers(1000, 300), resamples=4)) == 4  # in parts


def test_an_error_that_runs_share_makes_intervals_longer() -> None:
    scores = numbers(5, 4)
    own = of_runs(scores)
    alone, shared = (interval_of(iqm, scores, Variance(own.value + e, own.df)) for e in (0.0, 0.5))
    assert shared.high - shared.low > 2 * (alone.high - alone.low)


def test_two_runs_have_no_bootstrap() -> None:
    scores = numbers(2, 4)
    with pytest.raises(ValueError, match="an interval needs at least 3 runs, not 2"):
        interval_of(iqm, scores, of_runs(scores))
    with pytest.raises(ValueError, match="an interval needs at least 3 runs"):
        interval_of_improvement(scores, numbers(5, 4))
    with pytest.raises(ValueError, match="an interval needs at least 3 runs"):
        interval_of_improvement(scores[:1], scores[:1])


def test_one_side_that_always_wins_is_not_certain() -> None:
    low, high = ends(interval_of_improvement(numbers(3, 2) + 10, numbers(3, 2)))
    assert 0.4 < low < 0.9
    assert high == 1
    untrained, _ = ends(interval_of_improvement(numbers(3, 2) + 10, numbers(1, 2)))
    assert 0.4 < untrained < low  # a constant tells less than a second algorithm


def test_a_profile_falls_from_1_to_0_with_ends_as_exact_as_clopper_and_pearsons() -> None:
    scores = np.linspace(0.05, 0.95, 10).reshape(5, 2)
    share, low, high = profile(scores, np.array([0.0, 0.5, 1.0]))
    assert share.tolist() == [1.0, 0.5, 0.0]
    exact = stats.binomtest(5, 10).proportion_ci(0.95, "exact")
    assert (low[1], high[1]) == pytest.approx((exact.low, exact.high))
    assert (high[0], low[2]) == (1.0, 0.0)
    assert low[0] == pytest.approx(stats.binomtest(10, 10).proportion_ci(0.95, "exact").low)


@pytest.mark.parametrize("examples", [0.0, 1.0])
@pytest.mark.parametrize(("tasks", "seeds"), [(2, 3), (4, 3), (4, 10), (10, 3)])
def test_intervals_cover(tasks: int, seeds: int, examples: float) -> None:
    """The short form of ``benchmarks/aggregates.py``; 300 runs are good to 2.5 % twice."""
    found = aggregates.coverage(300, tasks, seeds, skewed=False, examples=examples, resamples=300)
    for name in ("mean", "IQM", "gap"):
        assert 0.91 <= found[name] <= 0.99, name
    for name in ("wins", "wins .9", "profile"):
        assert found[name] >= 0.92, name
    assert found["percentile"] < (0.7 if examples else 0.91 if seeds == 3 else 1.0)


@pytest.mark.parametrize(("tasks", "seeds", "examples"), [(2, 1, 50), (2, 3, 50), (4, 3, 20), (4, 5, 200), (10, 3, 50)])
def test_the_mean_of_normalised_scores_covers_over_examples_seeds_and_the_base(
    tasks: int, seeds: int, examples: int
) -> None:
    rng, runs = np.random.default_rng(2), 1000
    spreads = rng.uniform(0.05, 0.3, (tasks, 1, 1))
    hard = spreads * rng.normal(size=(runs, tasks, 1, examples))
    base = 0.2 + hard + spreads * rng.normal(size=(runs, tasks, 1, examples))
    luck = (0.05 if seeds > 1 else 0.0) * rng.normal(size=(runs, tasks, seeds, 1))  # one seed is for its weights
    scores = normalised(0.6 + hard + luck + spreads * rng.normal(size=(runs, tasks, seeds, examples)), base, 1.0)
    found = np.swapaxes(scores.mean(-1), 1, 2)
    interval = interval_of_mean(found, variance(scores))
    assert 0.93 <= np.mean((interval.low <= 0.5) & (interval.high >= 0.5)) <= 0.98
