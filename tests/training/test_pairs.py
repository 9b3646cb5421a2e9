"""Which pairs of a group are units: all whose returns differ, or those that differ in one message of the model."""

from __future__ import annotations

from typing import Any

import pytest
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dmpo import Dmpo, DmpoConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.ipo import Ipo, IpoConfig
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.task import BfclTask

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode, Message
from shiqbench.training.pairs import differ_in_one_turn
from shiqbench.training.units import make_units, pairs_left_out

ONE_TURN: dict[str, Any] = {"pairs": "one_turn"}
OF_PAIRS = [Dpo(DpoConfig(**ONE_TURN)), Dmpo(DmpoConfig(**ONE_TURN)), Ipo(IpoConfig(**ONE_TURN))]


def episode(said: str, earned: float = 0.0, group: str = "g") -> Episode:
    """Words of a conversation: ``u`` begins a user's, ``t`` a tool's, all others are the model's."""
    roles = {"u": "user", "t": "tool"}
    messages = [
        Message(roles.get(word[0], "assistant"), word, action=word[0] not in roles, reward=earned if i == 0 else None)
        for i, word in enumerate(said.split())
    ]
    return Episode(said, group, "b", tuple(messages))


@pytest.mark.parametrize(
    ("one", "other", "pair"),
    [
        pytest.param("u1 a u2 b", "u1 x u2 b", True, id="the first turn"),
        pytest.param("u1 a u2 b", "u1 a u2 x", True, id="the last turn"),
        pytest.param("u1 a", "u1 x", True, id="a single answer"),
        pytest.param("u1 call t1 end u2 b", "u1 call_x t9 end u2 b", True, id="the tool answers otherwise"),
        pytest.param("u1 call t1 end u2 b", "u1 end u2 b", True, id="one lacks the message"),
        pytest.param("u1 call t1 end", "u1 call t1", True, id="one ends before the message"),
        pytest.param("u1 a u2 b", "u1 x u2 y", False, id="two turns"),
        pytest.param("u1 a u2 b u3 c", "u1 x u2 b u3 y", False, id="two turns with an equal one between them"),
        pytest.param("u1 a u2 b", "u1 x", False, id="another message, and one less"),
        pytest.param("u1 call t1 call2 t2 end", "u1 end", False, id="one lacks two messages"),
        pytest.param("u1 a u2 b", "u1 a", False, id="one is asked no second question"),
        pytest.param("u1 a u2 b", "u9 x u2 b", False, id="another question"),
        pytest.param("u1 a u2 b", "u1 a u9 x", False, id="another question later"),
        pytest.param("u1 call t1 end", "u1 call t9 x", False, id="a tool that answers by chance"),
        pytest.param("u1 a u2 b", "u1 a u2 b", False, id="equal"),
    ],
)
def test_a_pair_shares_its_prefix_and_differs_in_one_message(one: str, other: str, pair: bool) -> None:
    assert differ_in_one_turn(episode(one), episode(other)) is pair
    assert differ_in_one_turn(episode(other), episode(one)) is pair


@pytest.mark.parametrize("algorithm", OF_PAIRS, ids=lambda a: type(a).__name__)
def test_only_these_pairs_are_units_and_the_others_are_counted(algorithm: Any) -> None:
    episodes = [
        episode("u a u b", 1.0),
        episode("u x u b", 0.5),
        episode("u a u y", 0.0),
        episode("u a u z", 0.0),  # as good as the one before it
        episode("u a u b", 0.0, group="h"),
    ]
    units = make_units(algorithm, episodes)
    assert [u.rows for u in units] == [(0, 1), (0, 2), (0, 3)]
    assert pairs_left_out(algorithm, episodes, units) == 2  # x against y and z
    every = type(algorithm)(type(algorithm.config)())
    units = make_units(every, episodes)
    assert [u.rows for u in units] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]
    assert pairs_left_out(every, episodes, units) == 0


def test_groups_and_episodes_have_nothing_left_out() -> None:
    algorithm, episodes = Copg(CopgConfig()), [episode("u a", 1.0), episode("u b")]
    assert pairs_left_out(algorithm, episodes, make_units(algorithm, episodes)) == 0


def test_without_such_a_pair_a_line_says_so() -> None:
    with pytest.raises(ConfigError) as caught:
        make_units(OF_PAIRS[0], [episode("u a u b", 1.0), episode("u x u y"), episode("u v u w")])
    assert caught.value.line() == (
        "none of 2 pairs of 3 episodes differs in one turn only (algo.pairs = one_turn); use data that change one "
        "message of the model, or --set algo.pairs=all"
    )
    with pytest.raises(ConfigError, match="no pair to train on among 2 episodes"):  # the returns are at fault
        make_units(OF_PAIRS[0], [episode("u a"), episode("u b")])


@pytest.mark.parametrize("config", [DpoConfig, DmpoConfig, IpoConfig])
def test_the_setting_came_later_and_changes_no_older_digest(config: Any) -> None:
    assert "pairs" not in config().model_dump(mode="json")
    chosen = config(pairs="one_turn")
    assert chosen.model_dump(mode="json")["pairs"] == "one_turn"
    assert config.model_validate(chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize(
    ("settings", "taken", "left_out"),
    [
        ({"perturbations": 1}, 119, 0),
        ({"perturbations": 3}, 372, 146),
        ({"perturbations": 3, "behaviours": ("perturbed",)}, 18, 146),
    ],
    ids=["one perturbation", "three", "three, without the ground truth"],
)
def test_perturbations_of_bfcl_are_such_pairs_with_the_ground_truth(
    settings: dict[str, Any], taken: int, left_out: int
) -> None:
    episodes = BfclTask(BfclConfig(**settings)).episodes("train")
    units = make_units(OF_PAIRS[0], episodes)
    assert (len(units), pairs_left_out(OF_PAIRS[0], episodes, units)) == (taken, left_out)
