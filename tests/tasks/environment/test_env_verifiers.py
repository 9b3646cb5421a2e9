"""Real environments of verifiers through the bridge: they earn what verifiers itself says, on the same messages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from other_python import folder_with
from shiqbench_tasks.environment import client as module
from shiqbench_tasks.environment.client import Client, describe
from shiqbench_tasks.environment.config import EnvironmentConfig

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.episodes.episode import StopReason
from shiqbench.plugin.environment import Step

REQUIREMENTS = ("verifiers==0.1.14",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test installs it

MODULE = '''
"""Find the digit of the answer."""
import verifiers as vf
from datasets import Dataset


def right(completion, answer, **kwargs):
    return float(any(m["role"] == "assistant" and answer in m["content"] for m in completion))


def cost(completion):
    return -0.125 * sum(m["role"] == "assistant" for m in completion)


def broken(completion):
    raise ZeroDivisionError("no reward")


def together(completions):
    return [0.0 for _ in completions]


class Digits(vf.MultiTurnEnv):
    async def setup_state(self, state):
        state["guesses"] = 0

    @vf.stop
    async def found(self, state):
        return bool(state["trajectory"]) and state["answer"] in state["trajectory"][-1]["completion"][-1]["content"]

    async def env_response(self, messages, state, **kwargs):
        print("a line that is no answer")
        state["guesses"] += 1
        text = messages[-1]["content"]
        if "rewarded" in text:
            state["trajectory"][-1]["reward"] = 0.5
        if "model" in text:
            await self.get_model_response(state, messages)
        if "fail" in text:
            raise vf.Error("no such move")
        if "rewrite" in text:
            messages[0]["content"] = "something else"
        if "stop" in text:
            state["final_env_response"] = [{"role": "user", "content": "So be it."}]
            return state["final_env_response"]
        return [{"role": "user", "content": f"No, that was guess {state['guesses']}."}]


class Own(Digits):
    async def rollout(self, *args, **kwargs):
        raise NotImplementedError


def look(x: int) -> int:
    """Look."""
    return x


def load_environment(kind="multi", turns=4, held_out=False, count=30, weight=1.0):
    rows = [{"question": f"Digit {n}?", "answer": str(n % 10)} for n in range(count)]
    data = {"dataset": Dataset.from_list(rows), "system_prompt": "Play."}
    if held_out:
        data["eval_dataset"] = Dataset.from_list(rows[-4:])
    funcs = {"broken": [right, broken], "together": [together]}.get(kind, [right, cost])
    data["rubric"] = vf.Rubric(funcs=funcs, weights=[weight] * len(funcs))
    if kind == "single":
        return vf.SingleTurnEnv(**data)
    if kind == "tools":
        return vf.ToolEnv(tools=[look], **data)
    if kind == "group":
        return vf.EnvGroup([Digits(**data), Digits(**data)])
    return (Own if kind == "own" else Digits)(max_turns=turns, **data)
'''

# Runs the package's own loop with a client that says given texts, and prints reward and conversation of each.
OFFICIAL = """
import asyncio, json, sys
import verifiers as vf
from verifiers.clients import Client
from verifiers.types import Response, ResponseMessage


async def nothing(*args, **kwargs):
    raise NotImplementedError


class Says(Client):
    def __init__(self, texts):
        super().__init__(None)
        self.texts = list(texts)

    async def get_response(self, prompt, model, sampling_args, tools=None, **kwargs):
        message = ResponseMessage(content=self.texts.pop(0), finish_reason="stop", is_truncated=False)
        return Response(id="", created=0, model="", message=message)


methods = {name: nothing for name in Client.__abstractmethods__}
arguments, scripts = json.loads(sys.argv[1])
env = vf.load_environment("digits-env", **arguments)
found = []
for index, texts in scripts:
    client = type("Client", (Says,), methods)(texts)
    state = asyncio.run(env._run_rollout_state(env.get_dataset()[index], client, "m", {}))
    said = [[m.role, m.content] for m in [*state["prompt"], *state["completion"]]]
    found.append([state["reward"], said])
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """A virtual environment with verifiers; 670 MB, and some minutes the first time."""
    return folder_with("verifiers", REQUIREMENTS)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits_env.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_described", {})


def config(python: Path, **arguments: Any) -> EnvironmentConfig:
    return EnvironmentConfig(environment="verifiers:digits-env", python=str(python), arguments=arguments)


def official(python: Path, arguments: dict[str, Any], scripts: list[tuple[int, list[str]]]) -> list[Any]:
    """Rewards and conversations by the package's own loop."""
    words: list[str | Path] = [python / "bin" / "python", "-c", OFFICIAL, json.dumps([arguments, scripts])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("FOUND ")]
    found: list[Any] = json.loads(line.removeprefix("FOUND "))
    return found


SCRIPTS = [
    (3, ["3"]),
    (3, ["1", "is it 2?", "3"]),
    (14, ["1", "2", "3", "5"]),  # never right: max_turns ends it
    (25, ["rewarded 1", "2", "rewarded 3", "5"]),
    (26, ["1", "stop"]),
]


@pytest.mark.parametrize("arguments", [{}, {"kind": "single"}, {"weight": 0.5, "turns": 3}], ids=str)
def test_an_episode_earns_what_verifiers_reports_and_has_its_messages(python: Path, arguments: dict[str, Any]) -> None:
    single = arguments.get("kind") == "single"
    turns = 1 if single else arguments.get("turns", 4)
    scripts = [(index, texts[:turns]) for index, texts in SCRIPTS]
    theirs = official(python, arguments, scripts)
    assert len({reward for reward, _ in theirs}) > (1 if single else 2)
    with Client(config(python, **arguments)) as client:
        for (index, texts), (reward, said) in zip(scripts, theirs, strict=True):
            world = client.environment(f"train-{index}")
            ours = [[m.role, m.content] for m in world.reset()]
            earned = 0.0
            for number, text in enumerate(texts, 1):
                step = world.step(text)
                ours += [["assistant", text], *([m.role, m.content] for m in step.messages)]
                earned += step.reward or 0.0
                assert step.done == (number == len(texts)), (index, number)
            assert earned == pytest.approx(reward, abs=1e-12)
            assert ours == said
        assert client.starts == 1


def test_rewards_of_single_messages_are_on_them_and_limits_are_scored(python: Path) -> None:
    with Client(config(python)) as client:
        world = client.environment("train-25")
        world.reset()
        found = [world.step(text) for text in ("rewarded 1", "2", "5")]
        assert [s.reward for s in found] == [0.5, None, 1.0 - 3 * 0.125 - 0.5]
        world = client.environment("train-25")
        world.reset()
        world.step("1")
        assert world.cut(StopReason.TOKEN_LIMIT) == -0.125


def test_the_identity_names_the_versions_and_what_is_held_out(python: Path, tmp_path: Path) -> None:
    found, identity = describe(config(python))
    assert {split: len(ids) for split, ids in found.examples.items()} == {"train": 25, "validation": 2, "test": 3}
    assert "verifiers 0.1.14" in identity["version"]
    own, _ = describe(config(python, held_out=True))
    assert own.examples["test"] == ("test-0", "test-1", "test-2", "test-3")
    assert len(own.examples["train"]) == 27
    assert describe(config(python, count=31))[1] != identity
    module._described.clear()
    (tmp_path / "digits_env.py").write_text(MODULE + "\n# another version\n")
    assert describe(config(python))[1] != identity


REFUSED = {
    "tools": "ToolEnv needs native tool calls, which are not supported",
    "together": "Digits compares rollouts of a group",
    "group": "EnvGroup is no MultiTurnEnv",
    "own": "Own has a rollout of its own",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_played_is_refused_by_name(python: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[kind]):
        describe(config(python, kind=kind))


def test_a_wrong_name_and_a_wrong_argument_are_said_in_one_line(python: Path) -> None:
    with pytest.raises(ConfigError, match="unexpected keyword argument 'knd'"):
        describe(config(python, knd="single"))
    with pytest.raises(ConfigError, match="Could not import 'digitz-env' environment") as caught:
        describe(config(python).model_copy(update={"environment": "verifiers:digitz-env"}))
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("fail", "Error: no such move"),
        ("model", "the environment asks a model itself, which is not supported"),
        ("rewrite", "the environment rewrites messages of before"),
    ],
)
def test_a_fault_costs_one_episode(python: Path, text: str, what: str) -> None:
    with Client(config(python)) as client:
        bad, good = client.environment("train-3"), client.environment("train-4")
        bad.reset()
        good.reset()
        with pytest.raises(RunError, match=what):
            bad.step(text)
        assert good.step("4") == Step([], 1.0 - 0.125, True)
        assert client.starts == 1


def test_a_reward_function_that_raises_is_a_crash_and_no_zero(python: Path) -> None:
    with Client(config(python, kind="broken")) as client:
        world = client.environment("train-3")
        world.reset()
        with pytest.raises(RunError, match="Error calling reward function broken: no reward"):
            world.step("3")
