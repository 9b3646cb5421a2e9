"""Environments: limits, crashes and repeats are taken care of; a script makes the same episode as a model."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Message, StopReason
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.environment import EnvironmentEpisode, Step, play_environments, scripted_episode, stops
from shiqbench.testing.generator import ScriptedGenerator

if TYPE_CHECKING:
    from pathlib import Path


class Counter:
    """Rewards each ``more``; ``stop`` ends it. After ``asks`` messages the user speaks, before that a tool."""

    def __init__(self, asks: int = 100, fails: bool = False, opening: str = "count") -> None:
        self.asks, self.fails, self.opening, self.steps = asks, fails, opening, 0

    def reset(self) -> list[Message]:
        if self.opening == "fail":
            raise OSError("no board")
        return [Message("system", "a game"), Message("user", self.opening)]

    def step(self, text: str) -> Step:
        self.steps += 1
        if self.fails:
            raise ValueError("no such move")
        if text == "stop":
            return Step(done=True)
        who = "user" if self.steps % self.asks == 0 else "tool"
        return Step([Message(who, f"{self.steps}")], reward=0.5)


def played(model: Path, says: list[str], new: dict[str, Any], **config: Any) -> list[dict[str, Any]]:
    renderer = Renderer(model)
    chat = ChatGenerator(ScriptedGenerator(renderer, says), renderer, 2000)
    seen: list[tuple[int, int]] = []
    settings = {"max_tokens": 20, "max_steps": 3, "max_episode_tokens": 100, **config}
    found = play_environments(new, chat, EvalConfig(**settings), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(found), len(new) * settings.get("repeats", 1))
    return found


def test_records_of_two_repeats(tiny_model: Path) -> None:
    found = played(tiny_model, ["stop", "more"], {"a": Counter, "b": Counter}, repeats=2, seed=5, temperature=1.0)
    assert [(r["id"], r["repeat"], r["seed"]) for r in found] == [("a", 0, 5), ("b", 0, 5), ("a", 1, 6), ("b", 1, 6)]
    assert found[2:] == [r | {"repeat": 1} for r in played(
        tiny_model, ["stop", "more"], {"a": Counter, "b": Counter}, seed=6, temperature=1.0
    )]  # fmt: skip
    for r in found:
        transcript = json.loads(r["transcript"])
        more = sum(m["content"] == "more" for m in transcript)
        assert r["return"] == 0.5 * more
        assert r["steps"] == sum("token_ids" in m for m in transcript)
        assert r["stop"] == ("finished" if transcript[-1]["content"] == "stop" else "step_limit")


@pytest.mark.parametrize(
    ("new", "config", "stop", "steps"),
    [
        (Counter, {}, "step_limit", 3),
        (partial(Counter, asks=2), {"max_episode_tokens": 40}, "token_limit", None),
        (partial(Counter, asks=2), {"max_episode_tokens": 10_000}, "context_limit", None),
        (partial(Counter, fails=True), {}, "error", 0),
        (partial(Counter, opening="fail"), {}, "error", 0),
    ],
)
def test_every_end_has_its_name(tiny_model: Path, new: Any, config: dict[str, Any], stop: str, steps: Any) -> None:
    (record,) = played(tiny_model, ["more"], {"x": new}, **config)
    assert record["stop"] == stop
    assert steps is None or record["steps"] == steps
    assert (record["return"] is None) == (stop == "error") == bool(record["error"])
    counts = stops([record])
    assert counts.pop(f"stop_{stop}") == 1
    assert set(counts.values()) == {0}


class Told(Counter):
    """Hears of limits, and has a last reward."""

    def __init__(self, heard: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.heard = heard

    def cut(self, stop: StopReason) -> float:
        self.heard.append(stop.value)
        if self.opening == "no cut":
            raise OSError("no board")
        return 2.0


def test_an_environment_that_wants_to_know_hears_of_a_limit_once_and_has_the_last_reward(tiny_model: Path) -> None:
    for config in ({}, {"max_episode_tokens": 10}, {"max_steps": 100, "max_episode_tokens": 10_000}):
        heard: list[str] = []
        (record,) = played(tiny_model, ["more"], {"x": partial(Told, heard)}, **config)
        assert heard == [record["stop"]]
        rewards = [m["reward"] for m in json.loads(record["transcript"]) if "token_ids" in m]
        assert rewards == [0.5] * (len(rewards) - 1) + [2.5]
        assert record["return"] == sum(rewards)
    heard = []
    (record,) = played(tiny_model, ["stop"], {"x": partial(Told, heard)})
    assert (record["stop"], heard) == ("finished", [])
    (record,) = played(tiny_model, ["more"], {"x": partial(Told, heard, opening="no cut")})
    assert (record["stop"], record["return"], record["error"]) == ("error", None, "OSError: no board")


def test_a_prompt_that_does_not_fit_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="the first prompt of long has"):
        played(tiny_model, ["more"], {"short": Counter, "long": partial(Counter, opening="word " * 3000)})


def test_a_script_makes_the_episode_that_a_model_would() -> None:
    episode = scripted_episode("e", "g", "script", Counter(asks=2), ["more", "more", "stop"])
    live = EnvironmentEpisode("e", Counter(asks=2), max_steps=5, max_tokens=100)
    for text in ("more", "more", "stop"):
        live.answer(Message("assistant", text, action=True))
    assert episode.messages == tuple(live.messages)
    assert live.stop is StopReason.FINISHED
    assert episode.total_reward == live.total_reward() == 1.0
    assert [m.role for m in episode.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    with pytest.raises(ValueError, match="e is over after 1 of 2 answers"):
        scripted_episode("e", "g", "script", Counter(), ["stop", "more"])
