"""Transcripts that are played again give the scores of their records, whatever ended the episode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from shiqbench_tasks.bfcl_v3 import prompt
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.metrics import record
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.task import BfclTask

from shiqbench.episodes.episode import Message
from shiqbench.stats.agree import agree

if TYPE_CHECKING:
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.prompt import PromptSetting


def new(
    entry: Entry, root: Path, setting: PromptSetting, max_steps: int = 20, max_tokens: int | None = None
) -> Dialogue:
    return Dialogue(entry, root, Limits(max_steps, max_tokens, setting.as_official), setting)


@pytest.mark.parametrize("name", ["reduced", "official"])
def test_every_kind_of_end(bfcl_root: Path, entries: tuple[Entry, ...], name: Literal["reduced", "official"]) -> None:
    task = BfclTask(BfclConfig(prompt=name))
    setting = prompt.REDUCED if name == "reduced" else OfficialPrompt(bfcl_root, task.version.name)
    played = [play(new(e, bfcl_root, setting), e.ground_truth) for e in entries[:6]]
    played += [play(new(e, bfcl_root, setting), [()] * len(e.users)) for e in entries[:2]]
    played += [play(new(e, bfcl_root, setting), [*e.ground_truth[:-1], ()]) for e in entries[:4]]
    call = setting.write(entries[1].ground_truth[0][:1])
    for steps, tokens in ((2, None), (20, 5)):  # a limit ends it, in its first or its last turn
        for ended_turns in (0, len(entries[1].users) - 1):
            dialogue = new(entries[1], bfcl_root, setting, steps, None)
            for _ in range(ended_turns):
                dialogue.answer(Message("assistant", setting.no_more_calls, action=True))
            dialogue.limits = Limits(steps, tokens, setting.as_official)
            while dialogue.stop is None:
                dialogue.answer(Message("assistant", call, action=True), tokens=3)
            played.append(dialogue)
    crashed = new(entries[0], bfcl_root, setting)
    crashed.crash(RuntimeError("no machine"))
    records = [record(d, 0, 0) for d in [*played, crashed]]
    again = task.rescore(records)
    assert again is not None
    assert again[-1] == {}
    wrong = [(r["id"], k, r[k], v) for r, row in zip(records, again, strict=True) for k, v in row.items() if r[k] != v]
    assert wrong == []
    assert {r["valid"] for r in records} == {True, False}
    assert len({r["stop"] for r in records}) == 4


def test_a_changed_score_is_found(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    lied = record(play(new(entries[0], bfcl_root, prompt.REDUCED), [()] * len(entries[0].users)), 0, 0)
    lied |= {"right_turns": lied["counted_turns"], "turn_reward": 1.0, "valid": True}
    (row,) = BfclTask(BfclConfig(prompt="reduced")).rescore([lied]) or []
    wrong = {name for name, value in row.items() if not agree(lied[name], value, 1e-6)}
    assert wrong == {"right_turns", "turn_reward", "valid"}
    assert BfclTask(BfclConfig(prompt="native")).rescore([lied]) is None
