"""Scores: ground truth is perfect, nothing else is, and the official checker agrees."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from official import official_verdicts, our_verdicts
from shiqbench_tasks.bfcl_v3 import scoring
from shiqbench_tasks.bfcl_v3.calls import Call, write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.offline import played_scripts
from shiqbench_tasks.bfcl_v3.scoring import ErrorType, Verdict
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, VERSIONS

from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import Message, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Script
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

EVERY = [(version, category) for version in VERSIONS.values() for category in CATEGORIES]
every_category = pytest.mark.parametrize(
    ("version", "category"), EVERY, ids=[f"{v.name}-{category}" for v, category in EVERY]
)


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


@pytest.mark.slow
@every_category
def test_ground_truth_is_perfect_twice_and_after_bad_policies(version: DataVersion, category: str) -> None:
    root = fetch(version.wheel)
    entries = load_entries(root, category, version)
    assert _valid(_verdicts(root, entries, _truth)) == 200
    assert _valid(_verdicts(root, entries, _nothing)) == 0
    assert _valid(_verdicts(root, entries, _last_call_dropped)) == 0
    verdicts = _verdicts(root, entries, _truth)
    assert _valid(verdicts) == 200
    counted = {"v3": 742, "v4": 731}[version.name]
    assert sum(v.right_turns for v in verdicts) == sum(v.counted_turns for v in verdicts) == counted


@pytest.mark.slow
@every_category
def test_doing_nothing_earns_nothing(version: DataVersion, category: str) -> None:
    root = fetch(version.wheel)
    verdicts = _verdicts(root, load_entries(root, category, version), _nothing)
    assert sum(v.right_turns for v in verdicts) == 0
    assert {v.error_type for v in verdicts} == {ErrorType.EMPTY_TURN}


@pytest.mark.slow
def test_playing_and_scoring_all_ground_truth_is_fast(bfcl_root: Path) -> None:
    entries = [e for category in CATEGORIES for e in load_entries(bfcl_root, category)]
    scoring._ground_truth.cache_clear()  # the answers' own execution is part of it
    started = time.process_time()
    assert _valid(_verdicts(bfcl_root, tuple(entries), _truth)) == 800
    assert time.process_time() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_the_official_checker_agrees(version: DataVersion) -> None:
    """On every entry's ground truth and on perturbations of it, in a fresh process, by type of error."""
    root = fetch(version.wheel)
    entries = [e for category in CATEGORIES for e in load_entries(root, category, version)]
    dialogues = [p.dialogue for p in played_scripts(entries, root, BfclConfig(perturbations=2, data_seed=1))]
    ours = our_verdicts(dialogues)
    assert len(ours) > 2000
    assert 800 <= sum(valid for valid, _ in ours) < len(ours)
    assert official_verdicts(dialogues, root, version) == ours


def _wander(entry: Entry, chance: random.Random) -> Script:
    """A random walk: true calls, doubled and misplaced ones, any tool with any argument that occurs somewhere."""
    pool = [v for turn in entry.ground_truth for c in turn for v in c.kwargs.values()]
    pool += [chance.randrange(-5, 2000), chance.random() * 100, True, "", "unknown", ["a", "b"], None]

    def strange() -> Call:
        tool = chance.choice(entry.tools)
        names = [n for n in tool["parameters"]["properties"] if chance.random() < 0.8]
        return Call(tool["name"], kwargs={n: chance.choice(pool) for n in names})

    turns = [list(calls) for calls in entry.ground_truth]
    for _ in range(chance.randrange(4)):
        calls = chance.choice(turns)
        at = chance.randrange(len(calls) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            calls.insert(at, strange())
        elif kind == 1 and calls:
            calls.insert(at, chance.choice(calls))
        elif kind == 2 and calls:
            chance.choice(turns).append(calls.pop(chance.randrange(len(calls))))
        elif calls:
            calls[chance.randrange(len(calls))] = strange()
    return tuple(map(tuple, turns))


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_the_official_checker_agrees_on_random_calls(version: DataVersion) -> None:
    """Two random walks an entry, each step of one call to three, in a fresh process."""
    root, chance = fetch(version.wheel), random.Random(20260323)
    dialogues = []
    for entry in [e for category in CATEGORIES for e in load_entries(root, category, version)] * 2:
        dialogue = Dialogue(entry, root, Limits(max_steps=1000))
        for calls in _wander(entry, chance):
            left = list(calls)
            while left:
                size = chance.randrange(1, 4)
                dialogue.answer(Message("assistant", write(left[:size]), action=True))
                left = left[size:]
            dialogue.answer(Message("assistant", "[]", action=True))
        dialogues.append(dialogue)
    ours = our_verdicts(dialogues)
    errors = Counter(error for _, error in ours)
    assert min(errors[kind] for kind in (None, ErrorType.EMPTY_TURN, ErrorType.STATE, ErrorType.RESPONSE)) > 30
    assert official_verdicts(dialogues, root, version) == ours


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
