"""Mean ranks of algorithms over tasks, and which of them differ. Pure functions.

Source: J. Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 1-30. Nemenyi's test
holds the chance of any wrong "they differ" at 5 % over all pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_ALGORITHMS = 3  # two are compared by a difference
LEAST_TASKS = 5  # with fewer, Nemenyi's test finds only rows that are first and last nearly everywhere

Array = NDArray[np.float64]


class Ranks(NamedTuple):
    """The test of ranks.

    Attributes:
        friedman: Statistic of Friedman's test.
        p: Its p-value: the chance of ranks as different as these if all algorithms are equal.
        pairs: Nemenyi's p-value of each pair, algorithms x algorithms.
    """

    friedman: float
    p: float
    pairs: Array


def ranks(scores: Array) -> Array:
    """Return the rank of each algorithm in each task: 1 is the best, ties share their mean rank.

    Args:
        scores: Scores, algorithms x tasks; higher is better.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, axis=0))


def tested(scores: Array) -> Ranks | None:
    """Return Friedman's and Nemenyi's tests; None with fewer than three algorithms or five tasks.

    Args:
        scores: Scores, algorithms x tasks; higher is better.
    """
    if scores.shape[0] < LEAST_ALGORITHMS or scores.shape[1] < LEAST_TASKS:
        return None
    if np.all(scores == scores[0]):
        return None  # nothing to rank
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy.stats import friedmanchisquare

    friedman = friedmanchisquare(*scores)
    return Ranks(float(friedman.statistic), float(friedman.pvalue), posthoc_nemenyi_friedman(scores.T).to_numpy())
