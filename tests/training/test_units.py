"""Episodes to units to batches."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode, Message
from shiqbench.plugin.batch import EpisodeUnit
from shiqbench.training.units import make_units, unit_batches


def episodes(*returns: tuple[str, float]) -> list[Episode]:
    return [
        Episode(str(i), group, "b", (Message("assistant", "x", action=True, reward=r),))
        for i, (group, r) in enumerate(returns)
    ]


class Grouped(Dpo):
    unit = "group"  # type: ignore[assignment]
    group_size = 2


def test_pairs_are_all_unequal_pairs_of_a_group_the_better_first() -> None:
    units = make_units(
        Dpo(DpoConfig()), episodes(("a", 0.0), ("a", 1.0), ("a", 1.0), ("b", 5.0), ("c", 2.0), ("c", 3.0))
    )
    assert [u.rows for u in units] == [(1, 0), (2, 0), (5, 4)]


def test_groups_have_their_size_and_never_mix() -> None:
    units = make_units(Grouped(DpoConfig()), episodes(("a", 0.0), ("b", 0.0), ("a", 1.0), ("a", 2.0), ("b", 1.0)))
    assert [u.rows for u in units] == [(0, 2), (1, 4)]


def test_nothing_to_train_on_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="no pair to train on among 2 episodes"):
        make_units(Dpo(DpoConfig()), episodes(("a", 1.0), ("a", 1.0)))
    with pytest.raises(ConfigError, match="no episode to train on"):
        make_units(Sft(SftConfig()), [])


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_batches_are_full_reproducible_and_visit_evenly(n: int, per_batch: int, seed: int) -> None:
    units = [EpisodeUnit((i,)) for i in range(n)]

    def first(count: int) -> list[list[EpisodeUnit]]:
        return list(islice(unit_batches(units, list(range(n)), per_batch, seed), count))

    batches = first(200)
    assert batches == first(200)
    assert all(len(b) == per_batch for b in batches)
    seen = [u.rows[0] for b in batches for u in b]
    # An epoch is finished before the next begins; only a rest smaller than a batch crosses over.
    assert max(seen.count(i) for i in range(n)) - min(seen.count(i) for i in range(n)) <= 2
    assert n < per_batch or all(seen[: n - n % per_batch].count(i) <= 1 for i in range(n))


def test_sorting_puts_like_keys_into_one_batch() -> None:
    units = [EpisodeUnit((i,)) for i in range(64)]
    keys = [i % 2 for i in range(64)]
    batches = list(islice(unit_batches(units, keys, 2, 0), 32))
    assert sum(len({keys[u.rows[0]] for u in b}) == 1 for b in batches) >= 31


def test_another_seed_is_another_order() -> None:
    units = [EpisodeUnit((i,)) for i in range(50)]
    orders = [list(islice(unit_batches(units, [0] * 50, 2, s), 25)) for s in (0, 1)]
    assert orders[0] != orders[1]
