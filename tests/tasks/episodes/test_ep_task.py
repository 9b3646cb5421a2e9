"""The task from a file to metrics: templates, returns, who scores, and a whole run with tool calls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ep_rows import Row, calls, own, said, texts, write
from judge_server import prefers_good, serving
from shiqbench_tasks.episodes.config import EpisodesConfig
from shiqbench_tasks.episodes.task import EpisodesTask
from support import HERE, ask

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.registry import registry
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import Record
from shiqbench.running.served import served_context
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

WORDS = HERE / "toy" / "rewards.py"
TOOLS = "{% for t in tools or [] %}<tool>{{ t | tojson }}</tool>{% endfor %}"
SHOWS_CALLS = (
    TOOLS + "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}<call>{{ c['function'] | tojson }}</call>{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """``datasets`` keeps what it has read."""


def task(folder: Path, rows: list[Row], **settings: Any) -> EpisodesTask:
    return EpisodesTask(EpisodesConfig(data=str(write(folder / "x.jsonl", rows)), **settings))


def scoring(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"def score(messages, row):\n    {body}\n")
    return f"{folder / 'mine.py'}:score"


def rewarded(count: int) -> list[Row]:
    """Two episodes of each prompt: a right call and a wrong one, each with a reward of its own."""
    found = []
    for i, row in enumerate(calls(count)):
        for k in range(2):
            again = json.loads(json.dumps(row))
            again["messages"][2]["reward"] = float(k)
            town = json.dumps({"city": f"town {i if k else 0}"})
            again["messages"][2]["tool_calls"][0]["function"]["arguments"] = town
            again["messages"][4]["reward"] = 0.5
            found.append(again)
    return found


def test_returns_are_those_of_the_file_unless_a_choice_is_stated(tmp_path: Path) -> None:
    def earned(**settings: Any) -> list[list[float | None]]:
        found = task(tmp_path, own(60), **settings).episodes("train")[:2]
        return [[m.reward for m in e.messages if m.action] for e in found]

    assert earned() == [[0.25, 0.0], [0.25, 1.0]]
    assert earned(centre="group") == [[0.25, -0.75], [0.25, 0.25]]
    assert earned(centre="dataset", scale="deviation") == [[0.5, -1.5], [0.5, 0.5]]  # mean 0.75, deviation 0.5
    alike = task(tmp_path, calls(60), scale="deviation")
    with pytest.raises(ConfigError, match="all answers earn the same"):
        alike.episodes("train")


def test_long_episodes_are_left_out_of_training_only(tmp_path: Path) -> None:
    rows = own(60)
    rows[0]["messages"][0] = said("user", "long " * 100)
    found = [task(tmp_path, rows, longest_episode=n) for n in (None, 200)]
    whole, short = ([*t.episodes("train"), *t.episodes("validation"), *t.episodes("test")] for t in found)
    assert len(whole) - len(short) in (0, 1)
    assert len(found[1]._trained) == len([e for e in found[0]._trained if e.place.number != 1])
    with pytest.raises(ConfigError, match=r"every episode is too long \(task.longest_episode\)"):
        task(tmp_path, rows, longest_episode=1).episodes("train")


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (CHATML, "the model's chat template does not show tools, which the data offer .*leave them out of the data"),
        (TOOLS + CHATML, "would not see the tool calls of an assistant message"),
    ],
)
def test_a_template_that_leaves_out_a_part_of_the_data_is_refused(tmp_path: Path, template: str, what: str) -> None:
    make_tokenizer(tmp_path / "model", template)
    with pytest.raises(ConfigError, match=what):
        task(tmp_path, calls(60)).use_model(StartModel(tmp_path / "model"))


def test_calls_are_trained_up_to_the_end_of_their_turn_with_their_rewards(tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "model", SHOWS_CALLS)
    model, found = StartModel(tmp_path / "model"), task(tmp_path, rewarded(60))
    found.use_model(model)
    rendered = model.renderer.render(found.episodes("train")[1])
    (sequence,) = rendered.sequences
    call, answer, rest = model.renderer.decode([sequence.ids[i] for i in sequence.actions]).split("<|im_end|>")
    assert call.startswith('<call>{"name": "weather", "arguments": {"city": "town')
    assert (answer[:11], rest) == ("It is sunny", "")
    assert [r for r in rendered.rewards if r] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (calls(60), "no pair of differing ratings in .*task.score=FILE.py:function"),
        ([{**r, "messages": r["messages"][:3]} for r in calls(60)], "answered by tool calls, which only a function"),
    ],
)
def test_data_that_a_reward_model_cannot_score_are_refused_with_what_can(
    tmp_path: Path, rows: list[Row], what: str
) -> None:
    found = task(tmp_path, rows, reward_model="words")
    found.use_registry(registry((WORDS,)))
    with pytest.raises(ConfigError, match=what):
        found.fetch()


def answered(found: EpisodesTask, answers: dict[str, str]) -> list[Record]:
    """Made-up answers to the test turns."""
    return [
        {
            "id": t.id,
            "group": t.group,
            "repeat": 0,
            "prompt": json.dumps([[m.role, m.content] for m in t.asked]),
            "answer": answers.get(t.id, "a good answer"),
            "stop": "finished",
            "tokens": 3,
        }
        for t in found._asked("test")
    ]


def test_a_function_scores_and_its_fault_names_the_row(tmp_path: Path) -> None:
    found = task(tmp_path, texts(60), score=scoring(tmp_path, "return float(row['chosen'] in messages[-1]['content'])"))
    first, *_ = found._asked("test")
    records = found.complete_records(answered(found, {first.id: f"so: {first.row['chosen']}"}), served_context())
    assert sorted(r["score"] for r in records) == [0.0] * (len(records) - 1) + [1.0]
    metrics = found.metrics(records)
    assert metrics.primary.name == "score"
    assert metrics.primary.value == pytest.approx(1 / len(records))
    broken = task(tmp_path, texts(60), score=scoring(tmp_path, "return row['gold']"))
    with pytest.raises(RunError, match=r"mine.py:score raises KeyError: 'gold' \(train row \d+\)"):
        broken.complete_records(answered(broken, {}), served_context())


def test_a_judge_compares_with_the_best_recorded_answer(tmp_path: Path) -> None:
    rows = [{"prompt": f"why {i}?", "chosen": f"bad {i}", "rejected": f"worse {i}"} for i in range(60)]
    with serving(lambda text, number: prefers_good(text)) as server:
        found = task(tmp_path, rows, judge={"url": server.url, "model": "m"})
        first, *_ = found._asked("test")
        records = found.complete_records(answered(found, {first.id: first.best.message.content}), served_context())
    assert sorted(r["score"] for r in records) == [0.5] + [1.0] * (len(records) - 1)  # the same text is a tie
    assert found.facts()["judge"]["asked"] == 2 * (len(records) - 1)
    assert found.metrics(records).metrics["judge_win_chosen"] == pytest.approx(found.metrics(records).primary.value)


def test_the_function_is_part_of_the_evaluation_and_not_of_the_training(tmp_path: Path, tiny_model: Path) -> None:
    data = write(tmp_path / "x.jsonl", own(60))

    def digests(body: str, **settings: Any) -> tuple[str, str]:
        values = {"task.data": str(data), "task.score": scoring(tmp_path, body), "eval.engine": "transformers"}
        plan = make_plan(Request("shiq", "episodes", str(tiny_model), preset="smoke", settings={**values, **settings}))
        return plan.cell.digest, plan.eval_folder(plan.cell).name

    one, two, more = digests("return 1"), digests("return 2"), digests("return 1", **{"task.turns": "all"})
    assert one[0] == two[0] == more[0]
    assert len({one[1], two[1], more[1]}) == 3


@pytest.mark.slow
def test_a_run_trains_on_calls_and_scores_every_turn_by_a_function(tmp_path: Path, tiny_model: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    make_tokenizer(model, SHOWS_CALLS)
    data = write(tmp_path / "mine.jsonl", rewarded(60))
    score = scoring(tmp_path, "return len(messages) + len(messages[-1]['content']) / 1000")
    words: list[str | Path] = [
        "run",
        "--algo",
        "shiq",
        "--task",
        "episodes",
        "--preset",
        "smoke",
        "--model",
        model,
        "--json",
    ]
    for setting in (
        f"task.data={data}",
        f"task.score={score}",
        "task.turns=all",
        "train.top_layers=1",
        "eval.engine=transformers",
        "eval.max_tokens=12",
        "eval.max_context=900",
    ):
        words += ["--set", setting]
    done = ask(*words, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "read as episodes of shiqbench: 120 rows, 120 episodes in 60 groups" in done.stderr
    (trained,) = (tmp_path / "results" / "episodes" / "shiq").iterdir()
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["task"]["data"]["form"] == "episodes"
    (file,) = trained.glob("eval/*/records.parquet")
    rows = pd.read_parquet(file)
    assert len(rows) == 6  # of two held-out prompts: one turn before the call, two after a call
    asked = [len(json.loads(p)) for p in rows["prompt"]]
    assert set(asked) == {2, 4}  # before the call, and before the answer
    assert list(rows["score"]) == [n + 1 + len(a) / 1000 for n, a in zip(asked, rows["answer"], strict=True)]
    assert (rows["k3"] > 0).any()
    again = ask(*words, "--results", tmp_path / "results")
    assert json.loads(again.stdout)["cached"] is True


def test_notes_on_scores_of_a_function_name_no_reward_model() -> None:
    """A report does not know where the function lies: it has the metrics only."""
    found = EpisodesTask(EpisodesConfig(data="mine.jsonl")).notes({"score": 0.5, "kl_k3": 0.1})
    assert found == []
