"""Scores an evaluation's episodes again: plays their transcripts once more on fresh tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shiqbench.plugin import Message, Record, StopReason
from shiqbench_tasks.bfcl_v3.metrics import of_verdict

if TYPE_CHECKING:
    from shiqbench_tasks.bfcl_v3.loop import Dialogue


def rescored(record: Record, dialogue: Dialogue) -> Record:
    """The columns of a record that its transcript decides; none for an episode that crashed, which has no score.

    Args:
        record: Record of an episode.
        dialogue: The same scenario, fresh and without limits: the transcript ends where a limit ended the episode.
    """
    if record["stop"] == StopReason.ERROR:
        return {}
    for said in json.loads(record["transcript"])[len(dialogue.messages) :]:
        if said["role"] == "assistant" and dialogue.stop is None:
            dialogue.answer(Message("assistant", said["content"], action=True))
    at_limit = dialogue.stop is None and record["stop"] == StopReason.STEP_LIMIT
    if at_limit and dialogue.setting.as_official and len(dialogue.turns) == len(dialogue.entry.users):
        dialogue.close_turn()  # the official loop scores an unfinished last turn
    dialogue.cut()
    verdict = dialogue.verdict()
    return {
        "id": dialogue.entry.id,
        **of_verdict(verdict),
        "calls": sum(len(step) for turn in dialogue.turns for step in turn.steps),
    }
