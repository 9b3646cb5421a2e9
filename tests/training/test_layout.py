"""The batch that losses see, from rendered episodes and statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_training import needy

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode
from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.plugin.algorithm import Need
from shiqbench.plugin.batch import EpisodeUnit
from shiqbench.running.train_cell import _check_data
from shiqbench.training.layout import make_batch
from shiqbench.training.token_statistics import TokenStatistics


def row(actions: int, returns: list[float] | None = None, logp: bool = True) -> Rendered:
    meta = {} if returns is None else {"reference_returns": returns}
    episode = Episode(f"e{actions}", "g", "b", (), meta=meta)
    behaviour = tuple(-0.1 * (i + 1) for i in range(actions)) if logp else None
    return Rendered(
        episode, (TokenSequence(tuple(range(actions + 1)), tuple(range(1, actions + 1))),), (0.5,) * actions, behaviour
    )


def batch(rows: list[Rendered], dtype: torch.dtype = torch.float64, heads: bool = False, z: float | None = None):  # type: ignore[no-untyped-def]
    def statistics(r: Rendered) -> TokenStatistics:
        x = torch.arange(1, r.actions + 1, dtype=dtype)
        return TokenStatistics(x, x + 1, *([x + 2, x + 3, x + 4, x + 5] if heads else []))

    found = [statistics(r) for r in rows]
    return make_batch([EpisodeUnit((i,)) for i in range(len(rows))], rows, found, found, z)


def test_turns_of_the_tokens() -> None:
    talk = replace(row(3), turns=(0, 0, 1))
    assert batch([row(2), talk]).turn_EA.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_rows_are_left_aligned_in_the_dtype_of_the_policy() -> None:
    found = batch([row(2), row(3)])
    assert found.valid_EA.tolist() == [[True, True, False], [True, True, True]]
    assert found.logit_EA.tolist() == [[1, 2, 0], [1, 2, 3]]
    assert found.behaviour_logp_EA.tolist() == [[-0.1, -0.2, 0], [-0.1, -0.2, -0.1 * 3]]
    floats = (found.reward_EA, found.lse_EA, found.ref_lse_EA, found.weight_U, found.behaviour_logp_EA)
    assert {x.dtype for x in floats} == {torch.float64}
    optional = (found.value_EA, found.token_q, found.mismatched_E, found.reference_return_EK)
    assert optional == (None, None, None, None)


def test_each_row_has_its_own_rewards() -> None:
    rows = [replace(row(2), rewards=(1.0, 0.5)), replace(row(1), rewards=(3.0,))]
    found = [TokenStatistics(torch.zeros(r.actions), torch.zeros(r.actions)) for r in reversed(rows)]
    pair = make_batch([EpisodeUnit((1, 0))], rows, found, found)
    assert pair.reward_EA.tolist() == [[3.0, 0.0], [1.0, 0.5]]
    assert [x.tolist() for x in pair.pairs(pair.return_E)] == [[3.0], [1.5]]


def test_heads_and_mismatched_are_there_where_computed() -> None:
    found = batch([row(1), row(2)], heads=True, z=0.25)
    assert found.value_EA.tolist() == [[3, 0], [3, 4]]
    assert [x.tolist() for x in found.token_q] == [[[4, 0], [4, 5]], [[5, 0], [5, 6]], [[6, 0], [6, 7]]]
    assert found.mismatched_E.tolist() == [0.25, 0.25]


def test_reference_returns_are_padded_with_nan() -> None:
    found = batch([row(1, [0.5]), row(2, [1.0, 2.0, 3.0]), row(3)]).reference_return_EK
    wanted = torch.tensor([[0.5, *[float("nan")] * 2], [1.0, 2.0, 3.0], [float("nan")] * 3], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, equal_nan=True, atol=0, rtol=0)


def test_behaviour_is_known_of_all_rows_or_not_at_all() -> None:
    assert batch([row(1), row(2, logp=False)]).behaviour_logp_EA is None


@pytest.mark.parametrize("need", ["behaviour_logp", "reference_returns"])
def test_data_without_what_the_algorithm_needs_is_refused(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = needy("contrast")
    whole, poor = row(1, [1.0]), row(2, [], logp=False)
    _check_data(algorithm, [whole, poor])
    monkeypatch.setattr(type(algorithm), "needs", frozenset({need}))
    _check_data(algorithm, [whole])
    with pytest.raises(ConfigError, match=f"episode e2 has no {need}"):
        _check_data(algorithm, [whole, poor])
