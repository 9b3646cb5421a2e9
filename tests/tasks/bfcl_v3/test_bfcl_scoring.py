"""Scores: ground truth is perfect, nothing else is, and the official checker agrees."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.offline import played_scripts
from shiqbench_tasks.bfcl_v3.scoring import ErrorType, Verdict

from shiqbench.episode import Message, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Script

OFFICIAL = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
entries = {}
for line in open(sys.argv[1] + "/bfcl_eval/data/BFCL_v3_multi_turn_base.json"):
    entry = json.loads(line)
    entries[entry["id"]] = entry
answers = {}
for line in open(sys.argv[1] + "/bfcl_eval/data/possible_answer/BFCL_v3_multi_turn_base.json"):
    answer = json.loads(line)
    answers[answer["id"]] = answer["ground_truth"]
verdicts = []
for number, job in enumerate(json.load(sys.stdin)):
    truth = answers[job["id"]]
    if job["id"] == "multi_turn_base_154":  # six answers to five questions, see data.py
        truth = [truth[0], truth[1] + truth[2], *truth[3:]]
    verdict = multi_turn_checker(job["model"], truth, entries[job["id"]], "multi_turn_base", f"m{number}")
    verdicts.append([verdict["valid"], verdict.get("error_type")])
json.dump(verdicts, sys.stdout)
"""


def _verdicts(root: Path, entries: tuple[Entry, ...], script: Callable[[Entry], Script]) -> list[Verdict]:
    return [play(Dialogue(e, root), script(e)).verdict() for e in entries]


def _truth(entry: Entry) -> Script:
    return entry.ground_truth


def _nothing(entry: Entry) -> Script:
    return ((),) * len(entry.users)


def _last_call_dropped(entry: Entry) -> Script:
    turns = list(entry.ground_truth)
    last = max(i for i, calls in enumerate(turns) if calls)
    turns[last] = turns[last][:-1]
    return tuple(turns)


def _valid(verdicts: list[Verdict]) -> int:
    return sum(v.valid for v in verdicts)


def test_ground_truth_is_perfect_twice_and_after_bad_policies(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    assert _valid(_verdicts(bfcl_root, entries, _truth)) == 200
    assert _valid(_verdicts(bfcl_root, entries, _nothing)) == 0
    assert _valid(_verdicts(bfcl_root, entries, _last_call_dropped)) == 0
    verdicts = _verdicts(bfcl_root, entries, _truth)
    assert _valid(verdicts) == 200
    assert sum(v.right_turns for v in verdicts) == sum(v.counted_turns for v in verdicts) == 742


def test_doing_nothing_earns_nothing(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    verdicts = _verdicts(bfcl_root, entries, _nothing)
    assert sum(v.right_turns for v in verdicts) == 0
    assert {v.error_type for v in verdicts} == {ErrorType.EMPTY_TURN}


def test_scoring_is_fast(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    started = time.process_time()
    _verdicts(bfcl_root, entries, _truth)
    assert time.process_time() - started < 1.5


def test_the_official_checker_agrees(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    """On every entry's ground truth and perturbations, in a fresh process, by type of error."""
    played = played_scripts(entries, bfcl_root, BfclConfig(perturbations=6, data_seed=1))
    jobs = [
        {
            "id": p.dialogue.entry.id,
            "model": [[[c.text() for c in step] for step in turn.steps] for turn in p.dialogue.turns],
        }
        for p in played
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OFFICIAL, str(bfcl_root)],
        input=json.dumps(jobs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = [[p.verdict.valid, p.verdict.error_type] for p in played]
    assert len(ours) > 1000
    assert 200 <= sum(valid for valid, _ in ours) < len(ours)
    assert json.loads(done.stdout) == ours


def test_turns_are_judged_beyond_the_first_wrong_one(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    truth = entries[1].ground_truth
    verdict = play(Dialogue(entries[1], bfcl_root), ((), *truth[1:])).verdict()
    assert verdict == Verdict(False, ErrorType.EMPTY_TURN, 0, (False, True, True, True))
    assert (verdict.right_turns, verdict.counted_turns) == (3, 4)


def test_errors_have_the_official_types(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    def error(texts: list[str]) -> ErrorType | None:
        dialogue = Dialogue(entries[1], bfcl_root)
        for text in texts:
            dialogue.answer(Message("assistant", text, action=True))
        return dialogue.verdict().error_type

    rest = [t for calls in entries[1].ground_truth[1:] for t in (write(calls), "[]")]
    assert error(["[ls(a=True)]", "[]", *rest]) is None
    assert error(["[pwd()]", "[]", *rest]) is ErrorType.RESPONSE
    assert error(["[ls(a=True), mkdir(dir_name='x')]", "[]", *rest]) is ErrorType.STATE


def test_empty_turns_of_the_ground_truth_are_not_counted(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    entry = next(e for e in entries if not all(e.counted))
    verdict = play(Dialogue(entry, bfcl_root), entry.ground_truth).verdict()
    assert verdict.valid
    assert verdict.counted_turns == len(entry.users) - 1
    assert verdict.turns[entry.counted.index(False)] is None


def test_a_forced_end_is_invalid_even_in_the_last_turn(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    entry = entries[1]
    dialogue = Dialogue(entry, bfcl_root, Limits(max_steps=1))
    play_all_but_last = entry.ground_truth[:-1]
    play(dialogue, play_all_but_last)
    for _ in range(2):
        dialogue.answer(Message("assistant", write(entry.ground_truth[-1]), action=True))
    assert dialogue.stop is StopReason.STEP_LIMIT
    verdict = dialogue.verdict()
    assert verdict == Verdict(False, ErrorType.FORCE_TERMINATED, 3, (True, True, True, False))
