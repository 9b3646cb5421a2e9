"""``show-data``: the statistics, missing statistics, and few imports for a request that needs few."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import TOY, ask

from shiqbench.base.errors import ConfigError
from shiqbench.commands.common import parse_assignments
from shiqbench.commands.show_data import as_tables, data_statistics, training_data
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import Task


def toy(tiny_model: Path, algo: str | None = None, *assignments: str) -> dict[str, Any]:
    return training_data(
        "toy",
        algo,
        model=str(tiny_model),
        settings=parse_assignments(assignments),
        results=Path("results"),
        plugins=(TOY,),
    )


def test_what_the_toy_task_holds(tiny_model: Path) -> None:
    found = toy(tiny_model)
    assert (found["episodes"], found["used"], found["groups"], found["groups_with_mixed_returns"]) == (24, 24, 8, 8)
    assert found["held_out_groups"] == {"validation": 8, "test": 8}
    assert found["return"] == {"mean": 0.5, "median": 0.5, "min": 0.0, "max": 1.0}
    assert {name: (b["episodes"], b["return"]["mean"]) for name, b in found["behaviours"].items()} == {
        "bad": (8, 0.5),
        "good": (8, 1.0),
        "worst": (8, 0.0),
    }
    lengths = found["per_episode"]
    assert lengths["messages"] == {"mean": 5, "median": 5, "min": 5, "max": 5}
    assert lengths["messages of the model"]["mean"] == 2
    assert "calls" not in lengths
    assert lengths["action tokens"]["min"] == len("no") * 2 + 2  # a byte tokenizer; each answer has an end of turn
    assert lengths["tokens"]["max"] == found["longest_sequence"]
    assert "units" not in found
    assert found["centre"] == "not stated"


def test_what_a_task_samples_first_is_shown_meanwhile(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sample(self: Task, start: StartModel) -> None:
        with start.bar("rollouts", 2) as advance:
            advance(1, 2)

    monkeypatch.setattr("shiqbench.base.progress.LINE_SECONDS", 0)
    monkeypatch.setattr(Task, "use_model", sample)
    toy(tiny_model)
    assert "rollouts: 1/2" in capsys.readouterr().err


def test_a_file_is_shown_by_the_task_of_own_data(
    tiny_model: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = {"role": "user", "content": "why? " * 100}
    rows = [
        {"messages": [{**question, "content": f"{i} {question['content']}"}, {"role": "assistant", "content": "so"}]}
        for i in range(60)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, [*rows, {"messages": [question]}])))
    settings = {"task.on_bad_row": "skip"}
    found = training_data(str(file), model=str(tiny_model), settings=settings, results=tmp_path)
    said = capsys.readouterr().err
    assert f"{file}: read as OpenAI messages: 61 rows, 60 episodes in 60 groups" in said
    assert f"{file}: rows skipped: 1 with no action, so nothing to learn (train row 61)" in said
    assert found["task"] == "episodes"
    assert found["first"]["messages"][1] == {
        "role": "assistant",
        "action": True,
        "reward": 1.0,
        "characters": 2,
        "content": "so",
    }
    shown = io.StringIO()
    console = Console(width=300, file=shown)
    for part in as_tables(found):
        console.print(part)
    printed = shown.getvalue()
    assert re.search(r"why\? why \.\.\. \(50[23] characters\)", printed)
    assert "assistant, action" in printed


def test_what_an_algorithm_makes_of_it(tiny_model: Path) -> None:
    found = toy(tiny_model, "sft", "train.max_tokens=60")
    assert (found["episodes"], found["used"], found["units"]) == (24, 8, 8)
    assert found["behaviours"]["bad"]["used"] == 0
    assert found["max_tokens"] == 60
    assert found["episodes_too_long"] == 8
    assert toy(tiny_model, "dpo")["units"] == 24  # three pairs in each group


def test_calls_and_the_centre_are_shown_where_the_task_states_them() -> None:
    def rendered(name: str, **meta: Any) -> Rendered:
        messages = (Message("user", "x"), Message("assistant", "y", action=True, reward=0.25))
        episode = Episode(name, "g", "b", messages, meta={"calls": 3, "centre": "dataset", **meta})
        return Rendered(
            episode, (TokenSequence((1, 2, 3), (1, 2)), TokenSequence((1, 2), (1,))), (0.0, 0.0, 0.25), None
        )

    rows = [rendered("a", centre_value=0.5), rendered("b", centre_value=0.5, calls=4)]
    found = data_statistics([r.episode for r in rows], rows)
    assert found["per_episode"]["calls"] == {"mean": 3.5, "median": 3.5, "min": 3, "max": 4}
    assert found["centre"] == "dataset (0.500)"
    assert found["longest_sequence"] == 3
    assert found["per_episode"]["tokens"]["max"] == 5
    assert found["groups_with_mixed_returns"] == 0


def test_an_empty_data_set_has_no_numbers() -> None:
    found = data_statistics([], [])
    assert (found["episodes"], found["return"], found["longest_sequence"]) == (0, {}, 0)


def test_a_task_with_its_own_policy_says_that_it_has_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mdp has no episodes to show: it brings its own policy"):
        training_data("mdp", results=tmp_path)


def test_the_command(tiny_model: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["show", "toy", "--data", "--plugin", TOY, "--model", tiny_model, "--algo", "sft"]
    done = ask(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 episodes, 8 used; 8 groups, 0 of them with mixed returns; 8 units of sft" in done.stdout
    assert "longest sequence" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 200
    done = ask(*words, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["behaviours"]["good"]["used"] == 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mdp", "--data"), "it brings its own policy"),
        (("shiq", "--data"), "unknown task 'shiq'"),
        (("bfcl_v3", "--preset", "smoke"), "--preset needs --data"),
        (("bfcl_v3", "--set", "task.reward=turn"), "--set needs --data"),
        (("bfcl_v3", "--data", "--set", "task.reward=tern"), "task.reward"),
        (("bfcl_v3", "--data", "--set", "train.lr=1"), "base trains nothing"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = ask("show", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_task_without_data_stays_light_and_names_the_command() -> None:
    script = (
        "import sys\nfrom shiqbench.commands.app import main\n"
        "try:\n    main(['show', 'bfcl_v3'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'pandas', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *_, last, heavy = done.stdout.splitlines()
    assert last == "training episodes: shiqbench show bfcl_v3 --data"
    assert heavy == "[]"
    assert "--data" not in ask("show", "mdp").stdout
