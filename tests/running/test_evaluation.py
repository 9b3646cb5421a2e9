"""Evaluations whose engine fails, or whose numbers are none."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from shiqbench.base.errors import DivergedError, EngineError, PluginError
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Completion, Sampling
from shiqbench.episodes.journal import JournaledGenerator
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.task import Metrics, Primary
from shiqbench.running.evaluation import _generate, check_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Failing:
    """An engine that fails at its n-th call; its answers name the engine."""

    name, version = "failing", "failing 1"

    def __init__(self, number: int, fails_at: int) -> None:
        self.number, self.calls, self.fails_at = number, 0, fails_at

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise EngineError("out of memory", where="the test", do="run again")
        return [Completion((65 + self.number,), (-1.0,), False) for _ in prompts]

    def describe(self) -> dict[str, Any]:
        return {"version": self.version}


class Holder:
    """Returns an engine; after a close, the next one."""

    def __init__(self, fails_at: Sequence[int]) -> None:
        self.engines = [Failing(i, at) for i, at in enumerate(fails_at)]
        self.closed = 0

    def ready(self, *_: Any) -> Failing:
        return self.engines[self.closed]

    def renderer(self, weights: Path, template: Mapping[str, Any]) -> Renderer:
        return Renderer(weights, template)

    def close(self) -> None:
        self.closed += 1


class ThreeWaves:
    """A task that asks its engine three times."""

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Any]:
        found = []
        for wave in range(3):
            (reply,) = chat.reply([[Message("user", f"wave {wave}")]], Sampling(1))
            assert reply.message is not None
            found.append({"text": reply.message.content})
        return found

    def facts(self) -> dict[str, Any]:
        return {}


def play(model: Path, folder: Path, fails_at: Sequence[int]) -> tuple[list[str], dict[str, Any], Holder]:
    return play_with(Holder(fails_at), model, folder)


def play_with(holder: Any, model: Path, folder: Path) -> tuple[list[str], dict[str, Any], Holder]:
    cell = SimpleNamespace(model=SimpleNamespace(template={}))
    engine = {"engine": object(), "engine_config": None, "evaluation": EvalConfig(engine="failing")}
    plan: Any = SimpleNamespace(**engine, task=ThreeWaves(), cell=cell)
    journaled: Any = partial(JournaledGenerator, path=folder / "journal", identity="x")
    records, facts = _generate(plan, model, holder, journaled, lambda done, total: None, lambda records, _: records)
    return [r["text"] for r in records], facts, holder


def test_a_new_engine_goes_on_with_the_wave_in_which_the_old_one_failed(tiny_model: Path, tmp_path: Path) -> None:
    texts, facts, holder = play(tiny_model, tmp_path, fails_at=[3, 0])
    assert texts[0] == texts[1] != texts[2]
    assert holder.engines[1].calls == 1
    assert len(facts["machine_failures"]) == 1
    assert facts["journal"] == {"waves": 3, "replayed": 2, "discarded": 0}


def test_an_engine_that_fails_twice_ends_the_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="out of memory"):
        play(tiny_model, tmp_path, fails_at=[3, 1])


def test_weights_that_are_not_finite_are_no_failure_of_the_machine(tiny_model: Path, tmp_path: Path) -> None:
    """A new engine would compute the same, so none is built."""
    holder: Any = Holder([0, 0])
    holder.engines[0].generate = lambda prompts, sampling: [Completion((0,), (math.nan,), False) for _ in prompts]
    with pytest.raises(DivergedError, match="not finite"):
        play_with(holder, tiny_model, tmp_path)
    assert holder.closed == 0


@pytest.mark.parametrize(
    ("record", "primary", "metrics", "said"),
    [
        ({"id": "a", "wins": math.nan}, (0.5, 0.1, 0.9), {}, "wins of a is nan"),
        ({"id": "a", "cost": -math.inf}, (0.5, 0.1, 0.9), {}, "cost of a is -inf"),
        ({"id": "a"}, (0.5, 0.1, 0.9), {"length": math.inf}, "metric length is inf"),
        ({"id": "a"}, (math.nan, 0.1, 0.9), {}, "metric wins is nan"),
        ({"id": "a"}, (0.5, 0.1, math.inf), {}, "metric wins high is inf"),
    ],
)
def test_what_is_no_number_is_refused_by_name(
    record: dict[str, Any], primary: tuple[float, float, float], metrics: dict[str, float], said: str
) -> None:
    with pytest.raises(PluginError, match=said):
        check_numbers([{"id": "b", "wins": 1.0}, record], Metrics(Primary("wins", *primary), metrics), "theirs")


def test_missing_numbers_are_allowed_and_many_bad_ones_are_counted() -> None:
    good = Metrics(Primary("wins", 0.5, 0.1, 0.9), {"wins": 0.5})
    check_numbers([{"id": "a", "wins": None, "name": "nan", "count": 3}], good, "theirs")
    with pytest.raises(PluginError, match=r"of e4 is nan, and 5 more \(task theirs\)"):
        check_numbers([{"id": f"e{i}", "wins": math.nan} for i in range(10)], good, "theirs")
