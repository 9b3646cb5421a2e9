"""Holm's correction: against another implementation, and the error that it promises over the rows of one table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from shiqbench.stats.multiple import holm
from shiqbench.stats.two_way import interval_of_difference


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_what_statsmodels_gives(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.randoms())
def test_the_order_of_the_rows_changes_nothing(ps: list[float], random: object) -> None:
    order = list(range(len(ps)))
    random.shuffle(order)  # type: ignore[attr-defined]
    once = holm(ps)
    assert holm([ps[at] for at in order]) == [once[at] for at in order]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("rows", [4, 9, 20])
def test_where_nothing_differs_a_table_finds_something_in_one_of_twenty(rows: int, seeds: int) -> None:
    """One baseline, 50 examples; without the correction it is up to every second table."""
    rng, runs = np.random.default_rng(0), 600
    hard = rng.normal(size=(runs, 1, 50))

    def row() -> NDArray[np.float64]:
        luck = 0.15 * rng.normal(size=(runs, seeds, 1)) * (seeds > 1)
        found: NDArray[np.float64] = hard + 0.5 * rng.normal(size=(runs, 1, 50)) + rng.normal(size=(runs, seeds, 50))
        return found + luck

    baseline = row()
    ps = np.array([interval_of_difference(row(), baseline)[1] for _ in range(rows)]).T
    corrected = np.array([holm(list(p)) for p in ps])
    assert np.mean(corrected.min(1) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert np.mean(ps.min(1) < 0.05) > 0.09
