"""Offline episodes: real rewards, real tool answers, nothing left to chance."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
from shiqbench_tasks.bfcl_v3.calls import parse
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.perturbations import Perturbation
from shiqbench_tasks.bfcl_v3.task import BfclTask

from shiqbench.base.digest import digest
from shiqbench.base.errors import ShiqbenchError

if TYPE_CHECKING:
    from shiqbench.episodes.episode import Episode

IN_ANOTHER_PROCESS = """
from shiqbench.base.digest import digest
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.task import BfclTask
episodes = BfclTask(BfclConfig()).episodes("train")
print(digest([[m.role + m.content + str(m.reward) for m in e.messages] for e in episodes]))
"""


def _episodes(**config: Any) -> list[Episode]:
    return BfclTask(BfclConfig(**config)).episodes("train")


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return _episodes()


def _texts(episode: Episode) -> tuple[str, ...]:
    return tuple(m.content for m in episode.messages if m.action)


def test_counts_and_kinds(episodes: list[Episode]) -> None:
    per_group = Counter(e.group for e in episodes)
    assert len(per_group) == 120
    assert set(per_group.values()) == {4}
    assert len({e.id for e in episodes}) == len(episodes)
    assert {e.behaviour for e in episodes} == {"ground_truth", *(f"perturbed:{k}" for k in Perturbation)}


def test_episodes_of_a_group_are_distinct_and_share_their_prompt(episodes: list[Episode]) -> None:
    groups = defaultdict(list)
    for episode in episodes:
        groups[episode.group].append(episode)
    for group in groups.values():
        assert len({_texts(e) for e in group}) == len(group)
        assert len({e.messages[:2] for e in group}) == 1


def test_actions_and_rewards_sit_on_assistant_messages(episodes: list[Episode]) -> None:
    for episode in episodes:
        assert all(m.action == (m.role == "assistant") for m in episode.messages)
        rewarded = [i for i, m in enumerate(episode.messages) if m.reward is not None]
        assert len(rewarded) == episode.meta["counted_turns"]
        for i in rewarded:  # the turn's last: nothing follows, or the next user turn
            assert episode.messages[i].action
            assert i + 1 == len(episode.messages) or episode.messages[i + 1].role == "user"


def test_turn_rewards_sum_to_the_share_of_right_turns(episodes: list[Episode]) -> None:
    for episode in episodes:
        share = episode.meta["right_turns"] / episode.meta["counted_turns"]
        assert episode.total_reward == pytest.approx(share)
        assert episode.meta["return"] == pytest.approx(share)
        if episode.behaviour == "ground_truth":
            assert episode.total_reward == pytest.approx(1)
    assert 0.3 < fmean(e.total_reward for e in episodes if e.behaviour != "ground_truth") < 0.8


def test_episode_reward_is_the_official_one() -> None:
    for episode in _episodes(reward="episode"):
        rewarded = [i for i, m in enumerate(episode.messages) if m.reward is not None]
        assert rewarded == [len(episode.messages) - 1]
        assert episode.total_reward == float(episode.meta["valid"])


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["turn", "episode"])
def test_centring_by_the_data_set(reward: str) -> None:
    plain, centred = _episodes(reward=reward), _episodes(reward=reward, centre="dataset")
    mean = fmean(e.total_reward for e in plain)
    for before, after in zip(plain, centred, strict=True):
        assert after.total_reward == pytest.approx(before.total_reward - mean)
        assert after.meta["centre"] == "dataset"
        assert after.meta["centre_value"] == pytest.approx(mean)
        assert after.meta["return"] == before.meta["return"]
    assert fmean(e.total_reward for e in centred) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_every_call_may_cost(episodes: list[Episode]) -> None:
    for free, costly in zip(episodes, _episodes(call_penalty=0.01), strict=True):
        calls = 0
        for before, after in zip(free.messages, costly.messages, strict=True):
            made = len(parse(before.content).calls) if before.action else 0
            assert (after.reward or 0.0) == pytest.approx((before.reward or 0.0) - 0.01 * made)
            calls += made
        assert costly.meta["return"] == pytest.approx(free.meta["return"] - 0.01 * calls)
        assert costly.total_reward == pytest.approx(costly.meta["return"])


@pytest.mark.slow
def test_centre_is_spread_evenly_over_counted_turns() -> None:
    for before, after in zip(_episodes(), _episodes(centre="dataset"), strict=True):
        shifts = {
            round(b.reward - a.reward, 12)
            for b, a in zip(before.messages, after.messages, strict=True)
            if b.reward is not None and a.reward is not None
        }
        assert len(shifts) == 1


def test_centring_by_group() -> None:
    sums = defaultdict(list)
    for episode in _episodes(centre="group"):
        sums[episode.group].append(episode.total_reward)
    assert all(fmean(values) == pytest.approx(0, abs=1e-12) for values in sums.values())


@pytest.mark.slow
def test_the_same_in_another_process_with_another_hash_seed(episodes: list[Episode]) -> None:
    mine = digest([[m.role + m.content + str(m.reward) for m in e.messages] for e in episodes])
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == mine


def test_the_data_seed_changes_perturbations_alone(episodes: list[Episode]) -> None:
    others = _episodes(data_seed=1)
    truth = [_texts(e) for e in episodes if e.behaviour == "ground_truth"]
    assert [_texts(e) for e in others if e.behaviour == "ground_truth"] == truth
    assert [_texts(e) for e in others] != [_texts(e) for e in episodes]


def test_behaviours_and_scenarios_limit_the_data(episodes: list[Episode]) -> None:
    few = _episodes(scenarios=5, behaviours=("ground_truth",))
    assert [e.id for e in few] == [e.id for e in episodes if e.behaviour == "ground_truth"][:5]
    spoiled = _episodes(scenarios=5, behaviours=("perturbed",), perturbations=2)
    assert len(spoiled) == 10
    assert all(e.behaviour.startswith("perturbed:") for e in spoiled)
    assert BfclTask(BfclConfig(scenarios=5)).episodes("validation")[-1].group != few[-1].group
    assert len({e.group for e in BfclTask(BfclConfig(scenarios=5)).episodes("validation")}) == 30


def test_splits_share_no_scenario() -> None:
    task = BfclTask(BfclConfig(behaviours=("ground_truth",)))
    found = [{e.meta["scenario"] for e in task.episodes(s)} for s in ("train", "validation", "test")]
    assert [len(f) for f in found] == [120, 30, 50]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]


def test_data_facts(episodes: list[Episode]) -> None:
    task = BfclTask(BfclConfig(centre="dataset"))
    task.episodes("train")
    facts = task.facts()["data"]
    assert facts["episodes"] == len(episodes)
    assert facts["behaviours"] == dict(Counter(e.behaviour for e in episodes))
    assert facts["mean_return"]["ground_truth"] == pytest.approx(1)
    assert facts["centre_value"] == pytest.approx(fmean(e.total_reward for e in episodes))


@pytest.mark.parametrize(
    "values",
    [
        {"behaviours": ()},
        {"behaviours": ("ground_truth", "ground_truth")},
        {"perturbations": 0},
        {"prompt": "short"},
        {"call_penalty": -1},
        {"behaviours": ("recorded",)},
        {"recorded": "somewhere"},
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, object]) -> None:
    from shiqbench.plugin.validation import validate

    with pytest.raises(ShiqbenchError):
        validate(BfclConfig, values, "task")
