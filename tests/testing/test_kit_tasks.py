"""The kit passes every task that keeps the contract, and refuses each that breaks a line of it, by that line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import HERE

from shiqbench.plugin.registry import registry
from shiqbench.testing import check_task
from shiqbench.testing.contract import TaskContract as Line

BROKEN = Path(__file__).parent / "broken_tasks.py"


def ultrafeedback(folder: Path) -> tuple[dict[str, Any], tuple[Path]]:
    """Its data are given by the user; a reward model that needs no language model."""
    rows = [
        {"prompt": f"question {i}", "chosen": f"good {i} and more", "rejected": f"bad {i}", "score": [8, i % 8 + 1]}
        for i in range(80)
    ]
    text = [json.dumps({**r, "score_chosen": r["score"][0], "score_rejected": r["score"][1]}) for r in rows]
    (folder / "data.jsonl").write_text("\n".join(text))
    return {"data": str(folder / "data.jsonl"), "reward_model": "words"}, (HERE / "toy" / "rewards.py",)


def episodes(folder: Path) -> tuple[dict[str, Any], tuple[Path]]:
    """The same, in conversations of two turns whose rewards differ."""
    rows = [
        {
            "group": f"g{i}",
            "messages": [
                {"role": "user", "content": f"question {i}"},
                {"role": "assistant", "content": "which one?", "reward": 0.1},
                {"role": "user", "content": "the red one"},
                {"role": "assistant", "content": f"{'good' if k else 'bad'} {i}", "reward": k},
            ],
        }
        for i in range(80)
        for k in range(2)
    ]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"data": str(folder / "data.jsonl"), "reward_model": "words"}, (HERE / "toy" / "rewards.py",)


def environment(folder: Path) -> tuple[dict[str, Any]]:
    """A program that repeats a question until the answer has a digit."""
    (folder / "game.py").write_text(
        """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["ask"] == "describe":
        found = {"name": "digits", "version": "1", "examples": [str(n) for n in range(40)]}
    elif asked["ask"] == "step" and any(c.isdigit() for c in asked["text"]):
        found = {"reward": 1.0, "done": True}
    elif asked["ask"] == "cut":
        found = {}
    else:
        found = {"messages": [{"role": "user", "content": f"Say a digit. {asked['ask']}"}]}
    print(json.dumps(found), flush=True)
"""
    )
    return ({"environment": f"{sys.executable} {folder / 'game.py'}", "rollout_max_context": 10_000},)


SETTINGS: dict[str, Callable[[Path], Any]] = {
    "ultrafeedback": ultrafeedback,
    "episodes": episodes,
    "environment": environment,
}


# lm_eval's default data are on a hub; with local ones it is checked in tests/tasks/lm_eval.
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(registry().tasks) - {"lm_eval"}))
def test_every_built_in_task_keeps_the_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "environment":  # it keeps rollouts
        monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "cache"))
    report = check_task(name, *(SETTINGS[name](tmp_path) if name in SETTINGS else ()))
    assert set(report.held) | set(report.skipped) == set(Line)
    assert not set(report.held) & set(report.skipped)


@pytest.mark.parametrize(("name", "lines"), [("Sound", (Line.RENDERING, Line.CONTEXT)), ("Own", (Line.RESUME,))])
def test_a_sound_plugin_passes(name: str, lines: tuple[Line, ...]) -> None:
    assert {Line.LIGHT, *lines} <= set(check_task(name, {"ask": "say"}, plugins=(BROKEN,)).held)


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("no_full", Line.PRESETS, "no preset full"),
        ("wrong_preset", Line.PRESETS, "cpu for base: unknown setting 'train.lrr'"),
        ("unknown_algorithm", Line.PRESETS, "cpu names the algorithms shik"),
        ("wrong_algorithm", Line.PRESETS, "cpu for shiq: unknown setting 'algo.bta'"),
        ("not_a_task", Line.STATEMENTS, "Config is not a subclass of Task"),
        ("not_exact", Line.STATEMENTS, "Sound is not a subclass of ExactTask, but own_policy is True"),
        ("Unfinished", Line.STATEMENTS, "making it fails with TypeError: .*evaluate"),
        ("OffersLuck", Line.STATEMENTS, r"offers \['luck'\]"),
        ("OffersReturns", Line.OFFERS, "'red-good' has reference_returns None"),
        ("OffersBehaviour", Line.OFFERS, r"'red-good' has no behaviour_logp on messages \[1\]"),
        ("UnstableIdentity", Line.IDENTITY, r"data_identity {'at': '0\.\d+'}, then"),
        ("NumberIdentity", Line.IDENTITY, "data_identity {'version': 1}"),
        ("UnstablePrompt", Line.IDENTITY, r"prompt_identity '0\.\d+', then"),
        ("Untrainable", Line.EPISODES, "no episode to train on"),
        ("SameIds", Line.EPISODES, r"\d+ ids more than once, such as \['0', '1', '2'\]"),
        ("NoBehaviour", Line.EPISODES, "'red-good' without a behaviour"),
        ("NoAction", Line.EPISODES, "'red-good' without an action message"),
        ("Shuffled", Line.REPEATABLE, "6 and 6 episodes of train in two instances, 6 differing"),
        ("RewardedUser", Line.REWARDS, r"'red-good' has a reward on message 0 \(user\)"),
        ("NotANumber", Line.REWARDS, "'red-good' has reward nan"),
        ("SharedGroup", Line.SPLITS, r"1 groups in train and validation, such as \['everything'\]"),
        ("NumberContent", Line.RENDERING, "episode 'red-good' fails with"),
        ("EvaluationFails", Line.RECORDS, "evaluate with the smoke preset fails with RuntimeError: no luck today"),
        ("NoRecords", Line.RECORDS, "no record"),
        ("SetInRecord", Line.RECORDS, "writing them as JSON fails with TypeError"),
        ("MixedColumn", Line.RECORDS, "writing them as parquet fails with"),
        ("NoId", Line.RECORDS, "3 of 3 records without an id"),
        ("CountsIds", Line.SERVED, "evaluating a served model fails with TypeError"),
        ("Silent", Line.PROGRESS, r"\(finished, total\) = \[\]"),
        ("AllExamples", Line.SETTINGS, "4 records with examples = 3"),
        ("NoRepeats", Line.SETTINGS, "3 records with repeats = 2, 3 with 1"),
        ("TestAlways", Line.SETTINGS, "3 records are the same on validation and test"),
        ("NeedsRoom", Line.CONTEXT, "'NoneType' object has no attribute 'content'"),
        ("Dice", Line.DETERMINISTIC, "3 of 3 records differ"),
        ("DicedMetrics", Line.DETERMINISTIC, "metrics .* and then"),
        ("NotFiniteMetric", Line.METRICS, "{'ratio': inf}"),
        ("OutsideInterval", Line.METRICS, r"low=1\.5, high=2\.0"),
        ("PrimaryElsewhere", Line.METRICS, "metrics has right -1.0"),
        ("NoColumn", Line.METRICS, r"no metric for the columns \['valid'\]"),
        ("BeginsAnew", Line.RESUME, "all 6 lines were reported again"),
        ("ForgetsMomentum", Line.RESUME, r"weights \w{12} undisturbed, \w{12} after an interruption"),
        ("NoBudget", Line.OWN_POLICY, r"training returns \[\], without a budget"),
        ("IgnoresWeights", Line.OWN_POLICY, "the same score untrained and trained"),
    ],
)
def test_a_broken_task_is_refused_by_the_line_it_breaks(
    name: str, line: Line, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All are in one file, and the check of its imports, which starts a process, is part of test_a_sound_plugin_passes.
    monkeypatch.setattr("shiqbench.testing.tasks.check_light", lambda report, line, files: None)
    with pytest.raises(AssertionError) as caught:
        check_task(name, plugins=(BROKEN,))
    message = str(caught.value)
    assert message.startswith(f"task {name} breaks its contract: {line}; found: ")
    assert re.search(found, message, re.DOTALL), message
