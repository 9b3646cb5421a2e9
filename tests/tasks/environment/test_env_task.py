"""The task: what is trained on, what is measured, what enters digests, and a whole run from the command line."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from games import game
from shiqbench_tasks.environment import client as module
from shiqbench_tasks.environment.config import EnvironmentConfig
from shiqbench_tasks.environment.metrics import summarise
from shiqbench_tasks.environment.task import EnvironmentTask
from support import ask

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError, RunError
from shiqbench.base.files import read_json
from shiqbench.episodes.episode import REFERENCE_RETURNS, Episode
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.rendering import Renderer
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.start_model import StartModel
from shiqbench.running.runner import check_needs
from shiqbench.testing.generator import ScriptedGenerator

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL: dict[str, Any] = {
    "train_examples": 6, "rollout_samples": 3, "rollout_engine": "transformers", "rollout_max_tokens": 20,
    "rollout_max_episode_tokens": 60, "rollout_max_context": 1000,
}  # fmt: skip
DIGITS = [str(n) for n in range(10)]


@pytest.fixture(autouse=True)
def _alone(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_described", {})


class Model(StartModel):
    """The tiny model's tokenizer with an engine that answers from a list; it counts how often an engine starts."""

    def __init__(self, folder: Path, answers: list[str]) -> None:
        super().__init__(folder, "w")
        self.answers, self.started = answers, 0

    @contextmanager
    def engine(self, config: EvalConfig) -> Iterator[ScriptedGenerator]:
        self.started += 1
        yield ScriptedGenerator(self.renderer, self.answers)


def made(config: EnvironmentConfig, model: StartModel) -> tuple[list[Episode], dict[str, Any]]:
    task = EnvironmentTask(config)
    task.use_model(model)
    return task.episodes("train"), task.facts()


def evaluated(config: EnvironmentConfig, model: Path, says: list[str], **settings: Any) -> list[dict[str, Any]]:
    renderer = Renderer(model)
    values = {"max_tokens": 20, "max_episode_tokens": 60, "split": "validation", **settings}
    chat = ChatGenerator(ScriptedGenerator(renderer, says), renderer, 1000)
    return EnvironmentTask(config).evaluate(chat, EvalConfig(**values), lambda done, total: None)


def test_rollouts_are_groups_of_one_example_with_the_environments_rewards(tiny_model: Path, tmp_path: Path) -> None:
    episodes, facts = made(game(tmp_path, **SMALL), Model(tiny_model, DIGITS))
    groups = Counter(e.group for e in episodes)
    assert len(groups) == 6
    assert set(groups.values()) == {3}
    assert len({e.id for e in episodes}) == 18
    renderer = Renderer(tiny_model)
    for e in episodes:
        said = [m for m in e.messages if m.action]
        right = [m.content == e.group[-1] for m in said]
        assert [m.reward for m in said] == [1.0 if r else -0.25 for r in right]
        assert right[:-1] == [False] * (len(said) - 1)
        assert (e.meta["stop"] == "finished") == right[-1]
        rendered = renderer.render(e)
        assert [s.ids[p] for s in rendered.sequences for p in s.actions] == [i for m in said for i in m.token_ids or ()]
        assert rendered.behaviour_logp is not None
    assert len({e.total_reward for e in episodes}) > 2
    assert facts["sampled_tokens"] == facts["data"]["rollout"]["tokens"] > 0
    assert facts["examples"] == {"train": 33, "validation": 3, "test": 4}


def test_a_second_time_neither_an_engine_nor_a_program_starts(tiny_model: Path, tmp_path: Path) -> None:
    config, model = game(tmp_path, **SMALL, arguments={"log": str(tmp_path / "log")}), Model(tiny_model, DIGITS)
    first, _ = made(config, model)
    started = (tmp_path / "log").read_text()
    again, facts = made(config, model)
    assert again == first
    assert model.started == 1
    assert (tmp_path / "log").read_text() == started
    assert facts["data"]["rollout"]["from_cache"]
    made(config.model_copy(update={"rollout_seed": 1}), model)
    made(config.model_copy(update={"arguments": {"version": "2"}}), model)
    assert model.started == 3


@pytest.mark.parametrize("centre", ["none", "group", "dataset"])
def test_centred_returns_and_those_of_the_group_are_on_one_scale(tiny_model: Path, tmp_path: Path, centre: str) -> None:
    plain, _ = made(game(tmp_path, **SMALL), Model(tiny_model, DIGITS))
    episodes, _ = made(game(tmp_path, **SMALL, centre=centre), Model(tiny_model, DIGITS))
    mean = sum(e.total_reward for e in plain) / len(plain)
    for before, e in zip(plain, episodes, strict=True):
        group = [x.total_reward for x in plain if x.group == e.group]
        subtracted = {"none": 0.0, "group": sum(group) / len(group), "dataset": mean}[centre]
        assert e.total_reward == pytest.approx(before.total_reward - subtracted)
        assert e.meta[REFERENCE_RETURNS] == pytest.approx([x - subtracted for x in group])


@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({}, {"behaviour_logp", "reference_returns"}),
        ({"rollout_model": "smollm2-135m-instruct"}, {"behaviour_logp"}),
        ({"rollout_temperature": 0.7}, set()),
    ],
    ids=["the start", "another model", "another temperature"],
)
def test_what_is_offered_follows_from_the_rollouts(settings: dict[str, Any], offered: set[str]) -> None:
    assert EnvironmentTask(EnvironmentConfig(**settings)).offers == offered


def test_a_crashed_rollout_is_counted_and_left_out(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = game(tmp_path, **SMALL)
    first = sorted(e.group for e in made(config, Model(tiny_model, DIGITS))[0])[0]
    bad = config.model_copy(update={"arguments": {"no_board": [first]}})
    episodes, facts = made(bad, Model(tiny_model, DIGITS))
    assert first not in {e.group for e in episodes}
    assert facts["data"]["rollout"]["crashed"] == 3
    assert "rollouts: 3 of 18 crashed and are left out: RunError: the environment failed: no board" in (
        capsys.readouterr().err
    )


def test_records_hold_the_conversation_and_metrics_are_means_over_episodes(tiny_model: Path, tmp_path: Path) -> None:
    config = game(tmp_path, arguments={"count": 120})
    records = evaluated(config, tiny_model, DIGITS, temperature=1.0, repeats=2)
    assert len(records) == 2 * 10
    for r in records:
        rewards = [m["reward"] for m in json.loads(r["transcript"]) if "token_ids" in m]
        assert r["return"] == pytest.approx(sum(rewards))
        assert r["steps"] == len(rewards)
    task = EnvironmentTask(config)
    found = task.metrics(records)
    assert found.primary.name == "return"
    assert found.primary.value == pytest.approx(sum(r["return"] for r in records) / 20)
    assert found.primary.low is not None
    assert found.primary.low < found.primary.value
    assert found.metrics["finished"] == sum(r["stop"] == "finished" for r in records) / 20
    assert found.metrics["examples"] == 10
    assert task.notes(found.metrics) == []
    assert {name for name, _, _ in task.table_columns()} <= set(found.metrics)


def test_episodes_that_crash_twice_have_no_return_and_enter_nothing(tiny_model: Path, tmp_path: Path) -> None:
    config = game(tmp_path, arguments={"count": 40})
    good = evaluated(config, tiny_model, DIGITS)
    bad = config.model_copy(update={"arguments": {"count": 40, "no_board": [good[0]["id"]]}})
    records = evaluated(bad, tiny_model, DIGITS)
    assert records[1:] == good[1:]
    assert (records[0]["stop"], records[0]["return"]) == ("error", None)
    found = summarise(records)
    assert (found["crashed"], found["stop_error"], found["examples"]) == (1, 1, 2)
    assert found["return"] == pytest.approx(sum(r["return"] for r in good[1:]) / 2)
    (note,) = EnvironmentTask(bad).notes(found)
    assert note.startswith("1 episodes crashed twice")
    with pytest.raises(RunError, match="every episode crashed: RunError: the environment failed: no board"):
        summarise(records[:1])


def test_one_episode_that_kills_the_program_every_time_costs_no_other(tiny_model: Path, tmp_path: Path) -> None:
    """The model says ``die`` in some conversations and not in others; those others are the same as without."""
    config = game(tmp_path)
    records = evaluated(config, tiny_model, ["1", "2", "3", "die"], temperature=1.0, repeats=4)
    crashed = [r for r in records if r["stop"] == "error"]
    assert 0 < len(crashed) < len(records)
    assert all("killed by signal 9" in r["error"] for r in crashed)
    apart = evaluated(config, tiny_model, ["1", "2", "3", "die"], temperature=1.0, repeats=4)
    assert apart == records


@pytest.mark.parametrize(("settings", "most"), [({}, 6), ({"at_once": 2}, 2), ({"arguments": {"at_once": 3}}, 3)])
def test_no_more_episodes_exist_at_a_time_than_the_program_can_play(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], most: int
) -> None:
    log = {"most": str(tmp_path / "most"), **settings.pop("arguments", {})}
    seen = evaluated(game(tmp_path, arguments=log, **settings), tiny_model, DIGITS, repeats=2)
    assert int((tmp_path / "most").read_text()) == most
    together = evaluated(game(tmp_path), tiny_model, DIGITS, repeats=2)
    assert seen == together  # how many are played at a time changes no answer


def test_a_split_without_examples_is_refused_with_what_there_is(tiny_model: Path, tmp_path: Path) -> None:
    config = game(tmp_path, arguments={"count": 1})
    with pytest.raises(
        ConfigError, match=r"no example in validation; there are 1 in train, 0 in validation, 0 in test"
    ):
        evaluated(config, tiny_model, DIGITS)


def plan_of(config: EnvironmentConfig, settings: dict[str, Any], algo: str = "shiq") -> Any:
    given = {"task.environment": config.environment, "eval.engine": "transformers", **settings}
    return make_plan(Request(algo, "environment", preset="smoke", settings=given))


def test_digests_name_what_decides_and_not_how_long_one_waits(tmp_path: Path) -> None:
    config = game(tmp_path)
    first = plan_of(config, {})
    assert first.cell.recipe["task"]["data"]["environment"] == "digits"
    assert "rollout_engine" in first.cell.recipe["task"]["data"]
    assert str(tmp_path) not in json.dumps(first.cell.recipe)
    free: dict[str, Any]
    for free in ({"task.step_seconds": 5}, {"task.start_seconds": 5}, {"task.at_once": 1}):
        other = plan_of(config, free)
        assert (other.cell.digest, digest(other.setting)) == (first.cell.digest, digest(first.setting))
    trained: dict[str, Any]
    for trained in ({"task.rollout_seed": 1}, {"task.centre": "none"}, {"task.train_examples": 5}):
        other = plan_of(config, trained)
        assert other.cell.digest != first.cell.digest
        assert digest(other.setting) == digest(first.setting)
    both: dict[str, Any]
    for both in ({"task.arguments": {"count": 50}}, {"task.arguments": {"version": "2"}}):
        other = plan_of(config, both)
        assert other.cell.digest != first.cell.digest
        assert other.base.digest != first.base.digest
        assert digest(other.setting) != digest(first.setting)


def test_rollouts_are_sampled_as_the_preset_evaluates_and_meet_what_algorithms_need(tmp_path: Path) -> None:
    plan = plan_of(game(tmp_path), {"eval.max_tokens": 7, "task.rollout_max_steps": 3}, "qrpo")
    how = plan.cell.task_config.sampling()
    assert (how.max_tokens, how.max_steps, how.temperature, how.split) == (32, 3, 1.0, "train")
    check_needs(plan.cell)


def run(model: Path, folder: Path, algo: str, *more: str) -> Any:
    words = ["run", "--algo", algo, "--task", "environment", "--preset", "smoke", "--engine", "transformers",
             "--model", str(model), "--results", str(folder / "results"),
             "--set", f"task.environment={game(folder).environment}", "--set", "eval.max_context=900",
             "--set", "task.rollout_max_context=900", "--set", "eval.max_tokens=8",
             "--set", "task.rollout_engine=transformers"]  # fmt: skip
    if algo != "base":
        words += ["--set", "train.top_layers=null", "--set", "train.lora_rank=0", "--set", "task.rollout_max_tokens=8"]
    return ask(*words, *more)


@pytest.mark.slow
def test_a_run_from_the_command_line_with_a_report_and_a_second_algorithm(tiny_model: Path, tmp_path: Path) -> None:
    done = run(tiny_model, tmp_path, "shiq")
    assert done.returncode == 0, done.stderr
    assert "rollouts: sampling 16 with" in done.stderr
    again = run(tiny_model, tmp_path, "dpo")
    assert "rollouts: read from" in again.stderr
    results = tmp_path / "results"
    (manifest,) = results.glob("environment/shiq/*/manifest.json")
    task = read_json(manifest)["task"]
    assert task["environment"]["environment"] == "digits"
    assert task["data"]["rollout"]["sampled"] == 16
    assert read_json(manifest)["data"]["behaviours"]["rollout"]["used"] > 0
    (records,) = results.glob("environment/shiq/*/eval/*/records.parquet")
    rows = pq.read_table(records).to_pylist()
    assert len(rows) == 4
    assert all(json.loads(r["transcript"])[1]["content"] == "Digit?" for r in rows)
    page = ask("report", results, "--format", "html", "--output", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    assert "return" in (tmp_path / "page.html").read_text()


def test_what_is_mistyped_on_the_command_line_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    wrong = run(tiny_model, tmp_path, "base", "--set", "task.environment=python nowhere.py")
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert "can't open file" in wrong.stderr
    assert not (tmp_path / "results").exists()
