"""The recorded solutions as episodes, the verdict on an answer, and what happens without data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from shiqbench.plugin import ConfigError, Record

from shiqbench_plugin_example.gsm8k.config import Gsm8kConfig
from shiqbench_plugin_example.gsm8k.data import disagreements, final_number, in_split, read
from shiqbench_plugin_example.gsm8k.task import Gsm8kTask


def task(data: Path, **settings: Any) -> Gsm8kTask:
    return Gsm8kTask(Gsm8kConfig(data=str(data), **settings))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 + 4 = 7\nA: 7", "7"),
        ("A: 1\nwait\nA: 2", "2"),
        ("A: $1,234", "1234"),
        ("A: 3.50", "3.5"),
        ("A: -2", "-2"),
        ("A:18", "18"),
        ("A: .5", "0.5"),
        ("The answer is 7", None),
        ("A: seven", None),
        ("BA: 7", None),
        ("A: ,", None),
        ("", None),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Decimal(number))


def test_a_solution_becomes_an_episode(data: Path) -> None:
    episodes = task(data).episodes("train")
    groups = Counter(e.group for e in episodes)
    assert set(groups.values()) == {4}
    by_behaviour = {e.behaviour: e for e in episodes if e.group == episodes[0].group}
    assert {who: e.total_reward for who, e in by_behaviour.items()} == {
        "6b_finetuning": 0.0,
        "6b_verification": 0.0,
        "175b_finetuning": 1.0,
        "175b_verification": 1.0,
    }
    said = by_behaviour["175b_finetuning"].messages[1].content
    assert "<<" not in said
    assert said.count("\nA: ") == 1


def test_settings_choose_problems_and_behaviours_of_the_training_split_alone(data: Path) -> None:
    some = task(data, problems=3, behaviours=("6b_finetuning", "175b_verification"))
    assert len(some.episodes("train")) == 6
    assert len(some.episodes("test")) == 2 * len(in_split(some.problems, "test"))


def test_a_problem_stays_in_its_split_whatever_else_there_is(data: Path) -> None:
    before = {p.id for p in in_split(task(data).problems, "test")}
    file = data / "example_model_solutions.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[30:]))
    read.cache_clear()
    after = {p.id for p in in_split(task(data).problems, "test")}
    assert after
    assert after < before


def test_a_verdict_that_the_number_contradicts_is_counted(data: Path) -> None:
    assert task(data).data_facts() == {"problems": 60, "solutions": 240, "disagreements": 0}
    file = data / "example_model_solutions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["6b_finetuning"]["is_correct"] = True
    rows[1]["175b_finetuning"]["is_correct"] = False
    file.write_text("\n".join(map(json.dumps, rows)))
    read.cache_clear()
    assert task(data).data_facts()["disagreements"] == 2


def record(name: str, answer: str | None, right: bool) -> Record:
    return {"id": name, "answer": answer, "right": right, "cut": False, "tokens": 10}


def test_the_interval_counts_problems_not_repeats(data: Path) -> None:
    once = [record(f"p{i}", "1", i < 3) for i in range(10)] + [record("none", None, False)]
    single, double = task(data).metrics(once), task(data).metrics(once * 2)
    assert single.primary.value == pytest.approx(3 / 11)
    assert single.metrics["answered"] == pytest.approx(10 / 11)
    # One trial a problem is Wilson's interval; several are clusters, with t in place of z: wider, never narrower.
    assert single.primary.low - 0.05 < double.primary.low <= single.primary.low
    assert single.primary.high <= double.primary.high < single.primary.high + 0.05
    assert double.metrics["problems"] == 11


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        ([], "gsm8k_solutions has no data (task.data is not set)"),
        (["--set", "task.data=nowhere"], "no file nowhere/example_model_solutions.jsonl (task.data=nowhere)"),
    ],
)
def test_without_data_a_run_says_so_in_one_line(tmp_path: Path, assignments: list[str], said: str) -> None:
    words = ["run", "--algo", "awr", "--task", "gsm8k_solutions", "--engine", "transformers", *assignments]
    command = [sys.executable, "-m", "shiqbench", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}; give the folder of example_model_solutions.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_file_of_something_else_is_refused(data: Path) -> None:
    (data / "example_model_solutions.jsonl").write_text('{"question": "?"}\n')
    read.cache_clear()
    with pytest.raises(ConfigError, match="line 1 is no problem with solutions"):
        task(data).episodes("train")


@pytest.mark.shared
def test_every_recorded_verdict_is_the_verdict_of_its_final_number(recorded: Path) -> None:
    problems = read(recorded / "example_model_solutions.jsonl")
    assert len(problems) == 1319
    assert sum(s.is_correct for p in problems for s in p.solutions.values()) == 2001
    assert disagreements(problems) == 0
    sizes = [len(in_split(problems, split)) for split in ("train", "validation", "test")]
    assert sum(sizes) == 1319
    assert min(sizes) > 100
    assert not any("<<" in s.text for p in problems for s in p.solutions.values())
