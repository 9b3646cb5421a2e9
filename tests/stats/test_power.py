"""The announced power is what the report's own test has, more seeds never find less, and advice keeps its word."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import nct, t

from shiqbench.stats.power import Components, components, detectable, examples_needed, positive, seeds_needed, unrelated
from shiqbench.stats.two_way import interval_of_difference, pseudo_values

Array = NDArray[np.float64]


def drawn(rng: np.random.Generator, c: Components, seeds: int, examples: int, runs: int) -> Array:
    """Scores of two rows with these components; with one or two seeds they are those of the same weights."""
    one = (2, runs, seeds, examples)
    scores: Array = rng.normal(size=(1, runs, 1, examples)) + np.sqrt(c.examples / 2) * rng.normal(
        size=(2, runs, 1, examples)
    )
    scores = scores + np.sqrt(c.rest / 2) * rng.normal(size=one)
    if seeds < 3 or not c.seeds:
        return scores
    varies = np.array([1, c.rows - 1]).reshape(2, 1, 1, 1)
    found: Array = scores + varies * np.sqrt(c.seeds / c.rows) * rng.normal(size=(*one[:3], 1))
    return found


def mean_of(found: list[Components]) -> Components:
    seeds, examples, rest, _, shares, common = (float(np.mean([c[at] or 0.0 for c in found])) for at in range(6))
    return Components(None if found[0].seeds is None else seeds, examples, rest, found[0].rows, shares, common)


@pytest.mark.parametrize("level", [0.05, 0.05 / 9])
@pytest.mark.parametrize("times", [0.0, 1.0, 4.0])
@pytest.mark.parametrize(("seeds", "examples"), [(1, 10), (1, 50), (2, 50), (3, 10), (3, 50), (5, 50), (10, 20)])
def test_the_announced_power_is_what_a_simulation_finds(seeds: int, examples: int, times: float, level: float) -> None:
    """Seeds vary ``times`` as much as the mean over examples; 2,000 runs of the report's own test."""
    c = Components(3.0 * times / examples, 2.0, 1.0)
    scores = drawn(np.random.default_rng(0), c, seeds, examples, 2000)
    _, p = interval_of_difference(scores[0] + detectable(c, seeds, examples, level), scores[1])
    assert np.mean(p < level) == pytest.approx(0.8, abs=0.027)  # three standard errors


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize(("share", "turns"), [(0.3, 1), (0.3, 7), (0.6, 7)])
def test_it_is_so_for_shares_with_the_components_that_their_scores_show(share: float, turns: int, seeds: int) -> None:
    """One row gains what the other loses: a row that gains from near 0 varies more than the components say."""
    rng, runs = np.random.default_rng(1), 800
    of = np.broadcast_to(rng.integers(1, turns + 1, (runs, 1, 60)), (runs, seeds, 60))
    hard = np.log(share / (1 - share)) + rng.normal(size=(1, runs, 1, 60)) + 0.5 * rng.normal(size=(2, runs, 1, 60))
    luck = 0.2 * rng.normal(size=(2, runs, seeds, 1)) * (seeds > 1)

    def scores(gain: float) -> Array:
        chance = np.clip(expit(hard + luck) + np.reshape([gain / 2, -gain / 2], (2, 1, 1, 1)), 0, 1)
        return np.stack([pseudo_values(rng.binomial(of, c).astype(float), of.astype(float)) for c in chance])

    alike, trials = scores(0.0), of.mean((1, 2))
    found = mean_of([components(alike[0, run], alike[1, run], trials.mean()) for run in range(runs)])
    gained = scores(detectable(found, seeds, 60))
    assert np.mean(interval_of_difference(gained[0], gained[1], trials)[1] < 0.05) == pytest.approx(0.8, abs=0.06)


def test_one_seed_is_the_noncentral_t() -> None:
    found = detectable(Components(None, 2.0, 0.0), 1, 30) / np.sqrt(2 / 30)
    edge = t.ppf(0.975, 29)
    assert nct.sf(edge, 29, found) + nct.cdf(-edge, 29, found) == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("rows", [1, 2])
def test_components_are_those_that_were_drawn(rows: int) -> None:
    c = Components(0.3, 2.0, 1.0, rows)
    scores = drawn(np.random.default_rng(2), c, 4, 40, 800)
    if rows == 1:  # the second row is one untrained model
        scores = [scores[0], scores[1][:, :1]]  # type: ignore[assignment]
    found = mean_of([components(a, b) for a, b in zip(*scores, strict=True)])
    assert found.rows == rows
    assert found.seeds == pytest.approx(0.3, abs=0.03)
    assert found.examples + found.rest == pytest.approx(3.0, rel=0.03)
    assert found.rest == pytest.approx(1.0 / (3 - rows), rel=0.03)


def test_a_row_whose_seeds_are_equal_adds_no_degrees_of_freedom() -> None:
    scores = drawn(np.random.default_rng(3), Components(0.3, 2.0, 1.0), 3, 40, 1)[:, 0]
    found = components(scores[0], np.repeat(scores[1, :1], 3, 0))
    assert found.rows == 1
    assert found == pytest.approx(components(scores[0], scores[1, :1]), rel=1e-9)


def test_no_component_is_below_0_and_an_unknown_one_stays_unknown() -> None:
    assert positive(Components(-1.0, -2.0, -3.0, 1)) == Components(0.0, 0.0, 0.0, 1)
    assert positive(one_seed := Components(None, 9.0, 0.0)) == one_seed


@pytest.mark.parametrize("seeds", [1, 3])
def test_rows_that_share_nothing_have_the_sum_of_both_variances(seeds: int) -> None:
    one, other = np.random.default_rng(4).normal(size=(2, seeds, 40)) * np.array([1.0, 3.0])[:, None, None]
    apart, together = unrelated(one, other), components(one, other)
    assert (apart.seeds, apart.rest, apart.rows) == (together.seeds, together.rest, together.rows)
    none = np.zeros((1, 40))
    assert apart.examples == pytest.approx(components(one, none).examples + components(none, other).examples)
    assert unrelated(one, one).examples > components(one, one).examples


parts = st.one_of(st.just(0.0), st.floats(-3, 3).map(lambda power: 10**power))
levels = st.sampled_from([0.05, 0.05 / 4, 0.05 / 20])


@settings(max_examples=60, deadline=None)
@given(parts, parts, parts, st.sampled_from([1, 2]), st.integers(10, 500), levels)
def test_more_seeds_never_find_less(s: float, e: float, r: float, rows: int, examples: int, level: float) -> None:
    """Up to the accuracy of the points."""
    c = Components(s, e, r, rows)
    found = [detectable(c, seeds, examples, level) for seeds in (3, 4, 5, 7, 10, 20, 50)]
    assert all(more <= fewer * 1.005 for fewer, more in pairwise(found))


@settings(max_examples=12, deadline=None)
@given(parts, parts, parts, st.integers(10, 300), st.floats(0.3, 1.5), levels)
def test_advice_keeps_its_word(s: float, e: float, r: float, examples: int, part: float, level: float) -> None:
    c = Components(s, e, r)
    now = detectable(c, 3, examples, level)
    assume(now > 0)
    seeds, more = seeds_needed(c, part * now, examples, level), examples_needed(c, part * now, 3, level)
    assert seeds is None or detectable(c, seeds, examples, level) <= part * now
    assert more is None or detectable(c, 3, more, level) <= part * now
    if part >= 1:
        assert seeds == 3
        assert more is not None
    elif seeds is not None and seeds > 3:
        assert detectable(c, seeds - 1, examples, level) > part * now


def test_what_cannot_be_found_and_what_is_not_known() -> None:
    c = Components(1.0, 1.0, 0.0)
    assert seeds_needed(c, 0.01, 50) is None  # the examples are too few
    assert examples_needed(c, 0.01, 3) is None  # the seeds are too few
    assert detectable(Components(0.0, 0.0, 0.0), 3, 50) == 0
    these = c._replace(seeds=None)  # of these weights, with any number of seeds
    assert detectable(these, 3, 50) == detectable(these, 2, 50) < detectable(c, 3, 50)
