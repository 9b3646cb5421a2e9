"""A scoring function: what it gets, what it may return, and how its faults are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ep_rows import calls, from_rows
from shiqbench_tasks.episodes.config import EpisodesConfig
from shiqbench_tasks.episodes.function import ScoringFunction, identity
from shiqbench_tasks.episodes.metrics import summarise
from shiqbench_tasks.episodes.questions import Turn, turns

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.plugin.task import Record


@pytest.fixture(scope="module")
def turn() -> Turn:
    (found,) = turns([from_rows(calls(60)).all[0]], "last")
    return found


def function(folder: Path, body: str) -> ScoringFunction:
    file = folder / "mine.py"
    file.write_text(f"def score(messages, row):\n    {body}\n")
    return ScoringFunction(f"{file}:score")


def test_it_gets_the_whole_conversation_and_the_row(tmp_path: Path, turn: Turn) -> None:
    body = (
        "assert [m['role'] for m in messages] == ['system', 'user', 'assistant', 'tool', 'assistant'], messages\n"
        "    assert messages[2]['tool_calls'][0]['function']['name'] == 'weather'\n"
        "    assert messages[-1] == {'role': 'assistant', 'content': 'my answer'}\n"
        "    return len(row['messages']) + (messages[-1]['content'] == 'my answer')"
    )
    assert function(tmp_path, body)(turn, "my answer") == 6.0


def test_the_function_of_the_page_knows_recorded_calls(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "episodes.md").read_text()
    (tmp_path / "score.py").write_text(page.split("```python\n# score.py")[1].split("```")[0].replace(":", "#", 1))
    score = ScoringFunction(f"{tmp_path / 'score.py'}:score")
    found = turns([from_rows(calls(60)).all[0]], "all")
    first, last = sorted(found, key=lambda t: len(t.asked))
    call = '<tool_call>\n{"name": "weather", "arguments": ARGUMENTS}\n</tool_call>'
    recorded = first.best.message.extra["tool_calls"][0]["function"]["arguments"]
    right = recorded if isinstance(recorded, str) else json.dumps(recorded)
    assert score(first, call.replace("ARGUMENTS", right)) == 1
    assert [score(first, wrong) for wrong in (call.replace("ARGUMENTS", "{}"), call, "It is warm.")] == [0, 0, 0]
    assert [score(last, answer) for answer in ("It is warm.", call)] == [1, 0]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return row['gold']", "mine.py:score raises KeyError: 'gold'"),
        ("return float('nan')", "mine.py:score returns nan"),
        ("return 'good'", "mine.py:score returns 'good', which is no number"),
        ("return None", "mine.py:score returns None, which is no number"),
    ],
)
def test_a_fault_is_one_line_that_names_the_row(tmp_path: Path, turn: Turn, body: str, what: str) -> None:
    with pytest.raises(RunError) as caught:
        function(tmp_path, body)(turn, "a")
    assert what in str(caught.value)
    assert f"(train row {turn.place.number})" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("def other(messages, row): return 1", "score", "no function 'score'; found other"),
        ("score = 3", "score", "no function 'score'; found none"),
        ("def score(messages): return 1", "score", "score cannot be called with messages and row: too many positional"),
        ("import nothing_like_it", "score", "cannot import it: ModuleNotFoundError"),
        ("def score(messages, row): return 1", "", "names no function of a Python file"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(tmp_path: Path, text: str, name: str, what: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what):
        ScoringFunction(f"{file}:{name}")
    with pytest.raises(ConfigError, match=r"no file '.*absent\.py'"):
        ScoringFunction(f"{tmp_path / 'absent.py'}:score")


def test_its_identity_is_its_text_and_not_its_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("def score(messages, row): return 1")
    one, two = (identity(f"{tmp_path / name / 'mine.py'}:score") for name in ("a", "b"))
    assert one == two
    (tmp_path / "b" / "mine.py").write_text("def score(messages, row): return 2")
    assert identity(f"{tmp_path / 'b' / 'mine.py'}:score") != one


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"score": "a.py:f", "reward_model": "words"}, "score and reward_model both score the answers"),
        ({"score": "a.py:f", "judge": {"url": "u", "model": "m"}}, "score and judge both score the answers"),
        ({"score": "a.py:f", "reward": {"worth": 2}}, "reward cannot be honoured: score scores the answers"),
    ],
)
def test_only_one_scores(settings: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        EpisodesConfig.model_validate(settings)
    assert EpisodesConfig().scored_by == "reward model"
    assert EpisodesConfig(score="a.py:f").scored_by == "function"


def record(group: str, score: float | None, **changes: object) -> Record:
    return {
        "id": f"{group}{score}",
        "group": group,
        "repeat": 0,
        "answer": "a b",
        "stop": "finished",
        "tokens": 2,
        "score": score,
        **changes,
    }


def test_turns_of_a_group_are_one_observation_and_every_answer_weighs_the_same() -> None:
    many = [record(f"g{i}", i % 2 / 2) for i in range(40)]
    found = summarise([*many, record("g0", 1.0), record("g0", 1.0), record("x", None, stop="context_limit")])
    assert found["score"] == pytest.approx(12 / 42)
    assert (found["groups"], found["turns"], found["stop_context_limit"]) == (40, 41, 1)
    assert found["score_low"] < found["score"] < found["score_high"]
    copies = summarise([r for r in many for _ in range(3)])
    once = summarise(many)
    assert copies["score_low"] == pytest.approx(once["score_low"])  # repeats add nothing
    silent = summarise([*many, record("y", None)])
    assert (silent["score"], silent["unscored"]) == (once["score"], 1)
    with pytest.raises(RunError, match="no answer has a score"):
        summarise([record("y", None)])


def test_right_or_wrong_is_a_share() -> None:
    found = summarise([record(f"g{i}", 1.0) for i in range(40)])
    assert found["score"] == 1
    assert found["score_high"] == pytest.approx(1)
    assert 0.9 < found["score_low"] < 0.95  # not 1, as if nothing else could happen


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def score(messages, row):\n    return 1\n", None),
        ("from mine import score\n", None),
        ("score = lambda messages, row: 1\n", None),
        ("from typing import Any\nscore: Any = lambda messages, row: 1\n", None),
        ('globals()["score"] = len\n', None),
        ('"""About score."""\nfor other in (len,):\n    score = other\n', None),
        ("if True:\n    def score(messages, row):\n        return 1\n", None),
        ("def scored(messages, row):\n    return 1\n", "no function 'score'; found scored"),
        ("", "no function 'score'; found none"),
        ("def score(messages, row)\n", "no Python: expected ':'"),
    ],
)
def test_a_missing_function_is_found_while_a_run_is_planned(tmp_path: Path, text: str, what: str | None) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    if what is None:
        assert identity(f"{file}:score")["function"] == "score"
        return
    with pytest.raises(ConfigError) as error:
        identity(f"{file}:score")
    assert what in str(error.value)
