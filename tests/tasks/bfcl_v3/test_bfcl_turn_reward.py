"""The cumulative reward that an evaluation reports is the one that training gives to the same episode."""

from __future__ import annotations

import random
from statistics import fmean
from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits
from shiqbench_tasks.bfcl_v3.metrics import record, summarise
from shiqbench_tasks.bfcl_v3.rewards import Played, as_episodes
from shiqbench_tasks.bfcl_v3.task import BfclTask
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, VERSIONS

from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from shiqbench_tasks.bfcl_v3.versions import Category


def played(category: Category, count: int, policy: str, max_tokens: int | None) -> list[Dialogue]:
    """Episodes whose turns are right or skipped by chance, with one token a message; a limit may cut them off."""
    root, found = fetch(VERSIONS["v3"].wheel), []
    for entry in load_entries(root, category, VERSIONS["v3"])[:count]:
        chance = random.Random(f"{policy} {entry.id}")
        dialogue = Dialogue(entry, root, Limits(max_tokens=max_tokens))
        for turn, calls in enumerate(entry.ground_truth):
            right = {"truth": True, "nothing": False, "half": chance.random() < 0.5, "first": turn == 0}[policy]
            for text in ([dialogue.setting.write(calls)] if calls and right else []) + ["[]"]:
                if dialogue.stop is None:
                    dialogue.answer(Message("assistant", text, action=True), tokens=1)
        found.append(dialogue)
    return found


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("max_tokens", [None, 4], ids=["whole", "cut off"])
@pytest.mark.parametrize("policy", ["truth", "nothing", "half", "first"])
def test_evaluation_and_training_agree(category: Category, policy: str, max_tokens: int | None) -> None:
    dialogues = played(category, 20, policy, max_tokens)
    trained_on = as_episodes([Played(d.entry.id, "rollout", d, d.verdict()) for d in dialogues], "turn", "none")
    records = [record(d, repeat=0, seed=0) for d in dialogues]
    earned = [episode.total_reward for episode in trained_on]
    assert [r["turn_reward"] for r in records] == pytest.approx(earned)
    values = summarise(records)
    assert values["turn_reward"] == pytest.approx(fmean(earned))
    assert values["turn_reward_low"] <= values["turn_reward"] <= values["turn_reward_high"]
    if policy == "half" and max_tokens is None:
        assert 0.2 < values["turn_reward"] < 0.8
    if policy == "truth":
        assert (values["turn_reward"] == 1) == (max_tokens is None)


def test_every_episode_counts_the_same_however_many_turns_it_has() -> None:
    records = [record(d, repeat=0, seed=0) for d in played("base", 40, "first", None)]
    values = summarise(records)
    assert values["turn_reward"] == pytest.approx(fmean(1 / r["counted_turns"] for r in records))
    assert values["turn_accuracy"] == pytest.approx(len(records) / sum(r["counted_turns"] for r in records))
    assert values["turn_reward"] > values["turn_accuracy"] + 0.02


def test_it_may_be_the_headline() -> None:
    records = [record(d, repeat=0, seed=0) for d in played("base", 20, "half", None)]
    primary = BfclTask(BfclConfig(primary="turn_reward")).metrics(records).primary
    assert primary.name == "turn_reward"
    assert primary.low is not None
    assert primary.low < primary.value
