"""What a chat template must show of the data, and what a run says before it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shiqbench_tasks.answers.playing import answer_all
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.task import UltraFeedbackTask
from uf_rows import Row, calling, conversations, paired, write

from shiqbench.base.errors import ConfigError
from shiqbench.commands.show_data import training_data
from shiqbench.episodes.generation import ChatGenerator, Completion
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.start_model import StartModel
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

CALLS = "{% for c in m['tool_calls'] or [] %}<call>{{ c['function'] | tojson }}</call>{% endfor %}"
THOUGHT = "{% if m['reasoning_content'] %}<think>{{ m['reasoning_content'] }}</think>{% endif %}"
TOOLS = "{% for t in tools or [] %}<tool>{{ t | tojson }}</tool>{% endfor %}"
SHOWS_CALLS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    + THOUGHT
    + "{{ m['content'] }}"
    + CALLS
    + "{{ '<|im_end|>\n' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """``datasets`` keeps what it has read."""


def thinking(count: int) -> list[Row]:
    found = conversations(count)
    for row in found:
        row["chosen"][1]["reasoning_content"] = "I wonder."
    return found


def task_and_model(
    tmp_path: Path, rows: list[Row], template: str, **settings: Any
) -> tuple[UltraFeedbackTask, StartModel]:
    make_tokenizer(tmp_path / "model", template)
    config = UltraFeedbackConfig(data=str(write(tmp_path / "x.jsonl", rows)), **settings)
    return UltraFeedbackTask(config), StartModel(tmp_path / "model")


@pytest.mark.parametrize(
    ("rows", "template", "settings", "what"),
    [
        (
            calling,
            CHATML,
            {},
            "the model's chat template does not show tools, which the data offer .*task.columns.tools",
        ),
        (calling, SHOWS_CALLS, {}, "the model's chat template does not show tools, which the data offer"),
        (calling, TOOLS + CHATML, {}, "would not see the tool calls of an assistant message"),
        (calling, CHATML, {"columns": {"tools": ""}}, "would not see the tool calls of an assistant message"),
        (thinking, CHATML, {}, "the model's chat template does not show the thought of an answer"),
        (thinking, TOOLS + CHATML, {}, "the model's chat template does not show the thought of an answer"),
    ],
)
def test_a_template_that_leaves_out_a_part_of_the_data_is_refused(
    tmp_path: Path, rows: Any, template: str, settings: dict[str, Any], what: str
) -> None:
    task, model = task_and_model(tmp_path, rows(60), template, **settings)
    with pytest.raises(ConfigError, match=what):
        task.use_model(model)


@pytest.mark.parametrize(
    ("rows", "template"), [(calling, TOOLS + SHOWS_CALLS), (thinking, SHOWS_CALLS), (conversations, CHATML)]
)
def test_a_template_that_shows_all_is_used(tmp_path: Path, rows: Any, template: str) -> None:
    task, model = task_and_model(tmp_path, rows(60), template)
    task.use_model(model)
    shown = model.renderer.decode(model.renderer.render(task.episodes("train")[0]).sequences[0].ids)
    if rows is calling:
        assert '<tool>{"type": "function", "function": {"name": "weather"' in shown
        assert '<call>{"name": "weather", "arguments": {"city": "Rome", "unit": null}}</call>' in shown
        assert "sunny" in shown


class Silent:
    """An engine that keeps its prompts and answers nothing."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.prompts: list[list[int]] = []

    def generate(self, prompts: Any, sampling: Any) -> list[Completion]:
        self.prompts += [list(p) for p in prompts]
        return [Completion((self.end,), (0.0,), stopped=True) for _ in prompts]


def test_a_model_is_asked_with_the_tools_and_calls_that_it_is_trained_with(tmp_path: Path) -> None:
    task, model = task_and_model(tmp_path, calling(60), TOOLS + SHOWS_CALLS)
    renderer: Renderer = model.renderer
    engine: Any = Silent(renderer.end_of_turn)
    asked = task._data.prompts["test"]
    config = EvalConfig(temperature=1.0, max_tokens=8, max_context=4000)
    answer_all(asked, ChatGenerator(engine, renderer, 4000), config, 0, lambda n: None)
    by_prompt = {e.group: e for e in task.episodes("test")}
    for prompt, ids in zip(asked, engine.prompts, strict=True):
        trained = renderer.render(by_prompt[prompt.id]).sequences[0]
        assert list(trained.ids[: trained.actions[0]]) == ids


def test_rewarded_tool_calls_are_actions_up_to_the_end_of_their_turn(tmp_path: Path) -> None:
    found = calling(60)
    for row in found:
        for who in ("chosen", "rejected"):
            row[who][1]["reward"] = 0.5
    task, model = task_and_model(tmp_path, found, TOOLS + SHOWS_CALLS)
    task.use_model(model)
    rendered = model.renderer.render(task.episodes("train")[0])
    (sequence,) = rendered.sequences
    acted = model.renderer.decode([sequence.ids[i] for i in sequence.actions])
    call, answer, rest = acted.split("<|im_end|>")
    assert call == '<call>{"name": "weather", "arguments": {"city": "Rome", "unit": null}}</call>'
    assert (answer[:5], rest) == ("good ", "")
    assert [r for r in rendered.rewards if r] == [0.5, 7.5]


def test_what_was_read_is_said_once_by_a_run_and_by_show_data(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = paired(100)
    found[7]["metadata"] = {"score_chosen": None, "score_rejected": 1.0}
    file = write(tmp_path / "x.jsonl", found + found[:5])
    settings = {"task.data": str(file), "task.on_bad_row": "skip", "task.reward_model": "bradley_terry"}
    training_data("ultrafeedback", "dpo", model=str(tiny_model), preset="smoke", settings=settings, results=tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(f"{file}: ")[2] for line in said if line.startswith(f"{file}: ")][1:] == [
        "rows skipped: 1 with a rating that is no number (train row 8 (None))",
        "left out: 5 rows given before",
    ]
