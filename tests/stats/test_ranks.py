"""Mean ranks and their tests."""

from __future__ import annotations

import numpy as np
import pytest

from shiqbench.stats.ranks import LEAST_ALGORITHMS, LEAST_TASKS, rank_test, ranks


def test_ties_share_their_mean_rank_and_the_highest_score_is_first() -> None:
    scores = np.array([[0.1, 0.9], [0.5, 0.2], [0.5, 0.3]])
    assert ranks(scores).tolist() == [[3.0, 1.0], [1.5, 3.0], [1.5, 2.0]]


def test_friedman_and_nemenyi_by_hand() -> None:
    # Three algorithms in one order in six tasks: 12 n / (k (k + 1)) x (1 + 0 + 1) = 12, with two degrees exp(-6).
    scores = np.array([[3.0] * 6, [2.0] * 6, [1.0] * 6]) + np.linspace(0, 1, 6)
    found = rank_test(scores)
    assert found is not None
    assert (found.friedman, found.p) == pytest.approx((12, np.exp(-6)))
    # Demšar's critical difference at 5 %: 2.343 sqrt(3 x 4 / (6 x 6)) = 1.353; ranks 1 and 3 differ, 1 and 2 do not.
    assert found.pairs[0, 2] < 0.05 < found.pairs[0, 1]


def test_too_few_have_no_test() -> None:
    rng = np.random.default_rng(0)
    assert rank_test(rng.normal(size=(LEAST_ALGORITHMS - 1, 20))) is None
    assert rank_test(rng.normal(size=(5, LEAST_TASKS - 1))) is None
    assert rank_test(np.ones((5, 20))) is None
    assert rank_test(rng.normal(size=(LEAST_ALGORITHMS, LEAST_TASKS))) is not None


@pytest.mark.parametrize("algorithms", [3, 6])
def test_equal_algorithms_seldom_differ_even_in_the_fewest_tasks(algorithms: int) -> None:
    rng = np.random.default_rng(1)
    found = [rank_test(rng.normal(size=(algorithms, LEAST_TASKS))) for _ in range(300)]
    wrong = [f is not None and bool((f.pairs < 0.05).any()) for f in found]
    assert np.mean(wrong) <= 0.07  # 5 %, and the noise of 300 runs
