"""A real OpenEnv server through the bridge: sessions, fields of action and observation, capacity, faults."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from other_python import folder_with
from shiqbench_tasks.environment import client as module
from shiqbench_tasks.environment.bridges import openenv_sessions
from shiqbench_tasks.environment.client import Client, describe
from shiqbench_tasks.environment.config import EnvironmentConfig
from shiqbench_tasks.environment.task import EnvironmentTask

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.episodes.episode import Message, StopReason
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.environment import Step
from shiqbench.testing.generator import ScriptedGenerator

# OpenEnv's own requirements bring gradio and more, which a server without a page does not import.
SERVER = ("fastmcp>=3,<4", "fastapi", "uvicorn", "websockets>=15.0.1", "pydantic", "requests")

APP = """
import sys
import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Say(Action):
    message: str
    loud: bool = False


class Heard(Observation):
    text: str
    guesses: int = 0


class Digits(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        super().__init__()
        self._state = State()

    def reset(self, seed=None, episode_id=None, greeting="Digit", **more):
        self.number, self._state = seed % 10, State()
        return Heard(text=f"{greeting} {seed}?")

    def step(self, action, timeout_s=None, **more):
        self._state.step_count += 1
        if "raise" in action.message:
            raise ValueError("no such move")
        done = str(self.number) in action.message
        text = "Yes." if done else "NO." if action.loud else "No."
        return Heard(text=text, guesses=self._state.step_count, reward=1.0 if done else -0.25, done=done)

    @property
    def state(self):
        return self._state


port, most = int(sys.argv[1]), int(sys.argv[2])
uvicorn.run(create_fastapi_app(Digits, Say, Heard, max_concurrent_envs=most), port=port, log_level="warning")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """A virtual environment with an OpenEnv server; 120 MB."""
    return folder_with("openenv", SERVER, ("openenv==0.10.0",))


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_described", {})


def serving(python: Path, folder: Path, most: int) -> Iterator[str]:
    """The URL of a server with so many sessions."""
    (folder / "app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([python / "bin" / "python", folder / "app.py", str(port), str(most)])
    try:
        for _ in range(600):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"openenv:http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def one(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one session, as by default."""
    yield from serving(python, tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def many(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with many."""
    yield from serving(python, tmp_path_factory.mktemp("many"), 8)


@pytest.mark.slow
def test_an_episode_on_a_real_server(many: str) -> None:
    config = EnvironmentConfig(environment=many, arguments={"greeting": "Number"})
    found, identity = describe(config)
    assert {split: len(ids) for split, ids in found.examples.items()} == {"train": 81, "validation": 9, "test": 10}
    assert identity["environment"] == "Digits"
    assert "127.0.0.1" not in json.dumps(identity)
    with Client(config) as client:
        world, other = client.environment("seed-13"), client.environment("seed-14")
        assert world.reset() == [Message("user", "Number 13?")]
        other.reset()
        assert world.step("is it 1?") == Step([Message("user", "No.")], -0.25)
        assert other.step("4") == Step([Message("user", "Yes.")], 1.0, True)
        assert world.step("3") == Step([Message("user", "Yes.")], 1.0, True)


@pytest.mark.slow
def test_the_message_may_be_the_action_and_the_observation_shown_whole(many: str) -> None:
    with Client(EnvironmentConfig(environment=many, action="json", observation="json")) as client:
        world = client.environment("seed-13")
        assert [json.loads(m.content) for m in world.reset()] == [{"text": "Digit 13?", "guesses": 0}]
        assert world.step("3") == Step([Message("user", "Answer with one JSON object.")])
        (refused,) = world.step('{"loud": true}').messages
        assert refused.content.startswith("Invalid action: ")
        (heard,) = world.step('{"message": "1", "loud": true}').messages
        assert json.loads(heard.content) == {"text": "NO.", "guesses": 1}
        assert world.step('{"message": "3"}').done


@pytest.mark.slow
def test_one_session_is_used_for_one_episode_after_another(one: str, tiny_model: Path) -> None:
    config, renderer = EnvironmentConfig(environment=one, seeds=40), Renderer(tiny_model)
    settings = EvalConfig(max_tokens=20, max_episode_tokens=30, temperature=1.0, repeats=2)

    def play(config: EnvironmentConfig) -> list[dict[str, Any]]:
        says = ScriptedGenerator(renderer, [*map(str, range(10)), "raise"])
        chat = ChatGenerator(says, renderer, 2000)
        return EnvironmentTask(config).evaluate(chat, settings, lambda done, total: None)

    records = play(config)
    assert len(records) == 8
    assert {r["stop"] for r in records} >= {"finished", "token_limit"}
    assert [r["error"] for r in records if r["stop"] == "error"] == [
        f"RunError: the environment failed: the server says EXECUTION_ERROR: no such move ({one})"
    ] * sum(r["stop"] == "error" for r in records)
    crowded = play(config.model_copy(update={"at_once": 4}))
    full = [r["error"] for r in crowded if r["stop"] == "error" and "CAPACITY_REACHED" in r["error"]]
    assert full
    assert all("the server has no free session: lower task.at_once" in error for error in full)


@pytest.mark.slow
def test_a_fault_costs_one_episode_and_a_limit_frees_its_session(one: str) -> None:
    with Client(EnvironmentConfig(environment=one)) as client:
        world = client.environment("seed-13")
        world.reset()
        with pytest.raises(RunError, match="the server says EXECUTION_ERROR: no such move"):
            world.step("raise")
        for seed in ("seed-14", "seed-15"):
            world = client.environment(seed)
            world.reset()
            assert world.cut(StopReason.TOKEN_LIMIT) is None
        assert client.starts == 1


@pytest.mark.slow
def test_a_field_that_is_not_there_is_refused_with_those_that_are(one: str) -> None:
    for setting, what in (("action", "message, loud"), ("observation", "text, guesses")):
        with pytest.raises(ConfigError, match=f"the {setting} has no field msg; it has {what}, or use task.{setting}"):
            describe(EnvironmentConfig.model_validate({"environment": one, setting: "msg"}))


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("fields", "required", "action", "observation"),
    [
        ({"message": TEXT, "metadata": {"type": "object"}}, [], "message", "message"),
        ({"code": TEXT, "loud": NUMBER}, ["code"], "code", "code"),
        ({"code": TEXT, "language": TEXT}, ["code"], "code", "json"),
        ({"code": TEXT, "language": TEXT}, [], None, "json"),
        ({"code": TEXT, "number": NUMBER}, ["code", "number"], None, "code"),
        ({"number": NUMBER}, ["number"], None, "json"),
    ],
)
def test_the_only_text_field_is_found_and_nothing_is_guessed(
    fields: dict[str, Any], required: list[str], action: str | None, observation: str
) -> None:
    schema = {"properties": fields, "required": required}
    assert openenv_sessions._only_text(schema, "observation", "json") == observation
    if action is None:
        with pytest.raises(openenv_sessions.Refused, match=r"say which takes the message with task\.action=FIELD"):
            openenv_sessions._only_text(schema, "action")
    else:
        assert openenv_sessions._only_text(schema, "action") == action
