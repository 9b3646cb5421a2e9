"""The official checker in a process of its own: what it makes of calls that our loop recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.loop import Dialogue
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

SCRIPT = """
import json, sys
root, prefix = sys.argv[1:]
sys.path.insert(0, root)
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
entries, answers = {}, {}
for category in ("base", "miss_func", "miss_param", "long_context"):
    name = prefix + "_multi_turn_" + category + ".json"
    for line in open(root + "/bfcl_eval/data/" + name):
        entry = json.loads(line)
        entries[entry["id"]] = entry
    for line in open(root + "/bfcl_eval/data/possible_answer/" + name):
        answer = json.loads(line)
        answers[answer["id"]] = answer["ground_truth"]
if prefix == "BFCL_v3":  # six answers to five questions, see versions.py
    truth = answers["multi_turn_base_154"]
    answers["multi_turn_base_154"] = [truth[0], truth[1] + truth[2], *truth[3:]]
verdicts = []
for number, job in enumerate(json.load(sys.stdin)):
    entry = entries[job["id"]]
    verdict = multi_turn_checker(job["model"], answers[job["id"]], entry, job["id"].rsplit("_", 1)[0], f"m{number}")
    verdicts.append([verdict["valid"], verdict.get("error_type")])
json.dump(verdicts, sys.stdout)
"""


def official_verdicts(dialogues: Sequence[Dialogue], root: Path, version: DataVersion) -> list[list[Any]]:
    """``[valid, error type]`` of every episode, from a fresh process that never saw our code."""
    jobs = [
        {"id": d.entry.id, "model": [[[c.text() for c in step] for step in turn.steps] for turn in d.turns]}
        for d in dialogues
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(root), version.prefix],
        input=json.dumps(jobs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def our_verdicts(dialogues: Sequence[Dialogue]) -> list[list[Any]]:
    """The same of ours."""
    verdicts = [d.verdict() for d in dialogues]
    return [[v.valid, v.error_type.value if v.error_type else None] for v in verdicts]
