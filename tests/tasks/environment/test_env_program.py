"""The program behind an environment: asked, killed, slow, talkative, started again; what it may answer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from games import game
from shiqbench_tasks.environment import client as module
from shiqbench_tasks.environment import program, protocol
from shiqbench_tasks.environment.client import Client, describe
from shiqbench_tasks.environment.config import EnvironmentConfig
from shiqbench_tasks.environment.sources import source
from support import HERE

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.episodes.episode import Message, StopReason
from shiqbench.plugin.environment import EnvironmentEpisode, Step

YES, NO = Step([Message("user", "Yes.")], 1.0, True), Step([Message("user", "No.")], -0.25)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests were told is forgotten."""
    monkeypatch.setattr(module, "_described", {})


def process(client: Client) -> int:
    assert client._program is not None
    return client._program._process.pid


def test_an_episode_is_played_to_its_end_and_the_program_ends_with_its_client(tmp_path: Path) -> None:
    with Client(game(tmp_path)) as client:
        world, other = client.environment("13"), client.environment("8")
        assert [m.content for m in world.reset()] == ["A game.", "Digit?"]
        other.reset()
        assert world.step("is it 1?") == NO
        assert other.step("is it 8?") == YES
        assert world.step("3") == YES
        pid = process(client)
    assert not Path(f"/proc/{pid}").exists()
    assert client.starts == 1


def test_a_program_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PATIENCE", 0.2)
    with Client(game(tmp_path, arguments={"stays": True})) as client:
        client.running()
        pid = process(client)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("die", r"the program was killed by signal 9 \(SIGKILL\) \(.*game.py\); start it by hand to see why"),
        ("leave", r"the program ended with exit code 1: tired of it \(.*game.py\)"),
        ("sleep", r"the program gave no answer to step in 2 seconds \(.*game.py\)"),
    ],
)
def test_a_program_that_dies_or_is_slow_costs_one_episode(tmp_path: Path, word: str, what: str) -> None:
    """The others are brought to where they were in a new program, and hear what they would have heard."""
    with Client(game(tmp_path, step_seconds=2)) as client:
        bad, good = client.environment("13"), client.environment("14")
        bad.reset()
        good.reset()
        assert good.step("1") == NO
        first = process(client)
        with pytest.raises(RunError, match=what):
            bad.step(word)
        assert not Path(f"/proc/{first}").exists()
        assert good.step("2") == NO
        assert good.step("4") == YES
        assert client.starts == 2
        assert process(client) != first


def test_a_program_that_is_killed_from_outside_costs_no_episode_but_the_one_that_waits(tmp_path: Path) -> None:
    with Client(game(tmp_path)) as client:
        world, other = client.environment("13"), client.environment("14")
        world.reset()
        other.reset()
        os.kill(process(client), signal.SIGKILL)
        with pytest.raises(RunError, match="killed by signal 9"):
            world.step("3")
        assert other.step("4") == YES


def test_an_exception_of_the_environment_leaves_the_program_running(tmp_path: Path) -> None:
    with Client(game(tmp_path)) as client:
        world = client.environment("13")
        world.reset()
        with pytest.raises(RunError, match=r"^the environment failed: ValueError: no such move \(.*game.py\)$"):
            world.step("raise")
        assert client.environment("14").reset()
        assert client.starts == 1


GARBAGE: dict[str, tuple[str, dict[str, str]]] = {
    "no JSON": (r"wrote 'loading \.\.\.', which is no answer .* to standard error", {"step": "loading ..."}),
    "no object": (r"wrote '\[1\]', which is no answer", {"step": "[1]"}),
    "a long line": (r"wrote 'x{70,77}\.\.\.', which", {"step": "x" * 1000}),
    "an unknown key": (r"unknown key 'score'; known are messages, reward, done", {"step": '{"score": 1}'}),
    "no reward": (r"reward is nan, not a finite number", {"step": '{"reward": NaN, "done": true}'}),
    "a reward in words": (r"reward is 'high', not", {"step": '{"reward": "high", "done": true}'}),
    "a truth as reward": (r"reward is True, not", {"step": '{"reward": true, "done": true}'}),
    "no message": (r"a step gives no message to answer, and the episode is not done", {"step": '{"reward": 1}'}),
    "an unknown role": (r"the role 'bot', not one of", {"step": '{"messages": [{"role": "bot", "content": ""}]}'}),
    "no text": (r"the content \[\], not a text", {"step": '{"messages": [{"role": "user", "content": []}]}'}),
    "a call": (r"unknown key 'tool_calls'", {"step": '{"messages": [{"role": "user", "tool_calls": []}]}'}),
    "done in words": (r"done is 'yes', not true or false", {"step": '{"done": "yes"}'}),
    "messages in words": (r"messages is 'hello', not a list", {"step": '{"messages": "hello"}'}),
    "no beginning": (r"reset gives no message", {"reset": '{"messages": []}'}),
    "two lines": (
        r"wrote '\{\}', which is no answer",
        {"reset": '{"messages": [{"role": "user", "content": "a"}]}\n{}'},
    ),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_an_answer_that_is_none_is_a_fault_of_the_environment(tmp_path: Path, kind: str) -> None:
    what, raw = GARBAGE[kind]
    with Client(game(tmp_path, arguments={"raw": raw})) as client:
        world = EnvironmentEpisode("13", client.environment("13"), max_steps=5, max_tokens=100)
        if world.stop is None:
            with pytest.raises(RunError) as caught:
                world.answer(Message("assistant", "3", action=True))
            world.crash(caught.value)
    assert world.stop is StopReason.ERROR
    assert "\n" not in world.error
    assert re.search(what, world.error), world.error


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ('{"name": "x", "version": "1"}', "examples is None, not a list, or lists by split"),
        ('{"name": "x", "version": 1, "examples": ["1"]}', "version is 1, not a text"),
        ('{"name": "x", "version": "1", "examples": [1]}', "an example is 1, not a text or an object"),
        ('{"name": "x", "version": "1", "examples": {"dev": ["1"]}}', "unknown key 'dev'; known are train, validation"),
        ('{"name": "x", "version": "1", "examples": ["1", "2", "1"]}', "1 examples have the id of another one.* '1'"),
        ('{"name": "x", "version": "1", "examples": ["1"], "at_once": 0}', "at_once is 0, not a number above 0"),
    ],
)
def test_a_description_that_is_none_stops_the_run_before_it_begins(tmp_path: Path, raw: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        describe(game(tmp_path, arguments={"raw": {"describe": raw}}))


def test_a_program_whose_answers_depend_on_more_than_the_messages_is_found_when_it_is_started_again(
    tmp_path: Path,
) -> None:
    with Client(game(tmp_path, arguments={"clock": True})) as client:
        world = client.environment("13")
        world.reset()
        os.kill(process(client), signal.SIGKILL)
        with pytest.raises(RunError):
            world.step("1")
        with pytest.raises(RunError, match=r"the same messages led to another place \(13\)"):
            world.step("1")


def test_a_program_that_does_not_start_is_not_tried_for_ever(tmp_path: Path) -> None:
    log, broken = tmp_path / "log", tmp_path / "broken"
    config = game(tmp_path, arguments={"log": str(log), "broken": str(broken)})
    describe(config)
    broken.touch()
    with Client(config) as client:
        for _ in range(5):
            with pytest.raises(RunError, match="exit code 1: it is broken"):
                client.environment("1").reset()
    assert len(log.read_text().split()) == 1 + module.STARTS


def test_a_program_that_describes_itself_in_another_way_is_refused_until_the_run_is_planned_again(
    tmp_path: Path,
) -> None:
    config = game(tmp_path)
    found, _ = describe(config)
    key = module._key(source(config))
    module._described[key] = protocol.Description("digits", "0", found.examples)
    with Client(config) as client, pytest.raises(RunError, match="is not what it was when the run was planned"):
        client.running()
    assert describe(config)[0] == found


def test_a_program_is_asked_once_per_process_what_it_plays(tmp_path: Path) -> None:
    config = game(tmp_path, arguments={"log": str(tmp_path / "log")})
    first = describe(config)
    assert describe(config) == first
    assert len((tmp_path / "log").read_text().split()) == 1


def test_a_program_that_never_answers_is_given_up_and_one_that_reads_nothing_blocks_nobody(tmp_path: Path) -> None:
    started = time.monotonic()
    asleep = game(tmp_path).model_copy(update={"environment": "sleep 60", "start_seconds": 0.3})
    with pytest.raises(ConfigError, match=r"no answer to describe in 0.3 seconds \(sleep 60\)"):
        describe(asleep)
    large = asleep.model_copy(update={"arguments": {"text": "x" * 2**20}})  # more than a pipe holds
    with pytest.raises(ConfigError, match="no answer to describe"):
        describe(large)
    assert time.monotonic() - started < 30


def test_a_limit_gives_the_environment_the_last_word(tmp_path: Path) -> None:
    with Client(game(tmp_path, arguments={"consolation": 0.5, "most": str(tmp_path / "most")})) as client:
        for _ in range(3):
            world = EnvironmentEpisode("13", client.environment("13"), max_steps=5, max_tokens=10)
            world.answer(Message("assistant", "1", action=True), tokens=1)
            assert world.stop is None
            world.answer(Message("assistant", "2", action=True), tokens=10)
            assert world.stop is StopReason.TOKEN_LIMIT
            assert [m.reward for m in world.messages if m.action] == [-0.25, 0.25]
            assert world.total_reward() == 0.0
    assert (tmp_path / "most").read_text() == "1\n"  # the program was told, and forgot the episode


def test_a_context_without_room_tells_the_environment_too(tmp_path: Path) -> None:
    with Client(game(tmp_path, arguments={"consolation": 0.5})) as client:
        world = EnvironmentEpisode("13", client.environment("13"), max_steps=5, max_tokens=10)
        world.answer(Message("assistant", "1", action=True), tokens=1)
        world.no_room(100, 50)
        assert (world.stop, world.total_reward()) == (StopReason.CONTEXT_LIMIT, 0.25)
    broken = game(tmp_path, arguments={"raw": {"cut": "no"}})
    with Client(broken) as client:
        world = EnvironmentEpisode("13", client.environment("13"), max_steps=5, max_tokens=10)
        world.no_room(100, 50)
        assert (world.stop, world.total_reward()) == (StopReason.ERROR, None)


def described(examples: Any) -> dict[str, tuple[str, ...]]:
    return protocol.description({"name": "x", "version": "1", "examples": examples}).examples


def test_a_tenth_of_the_groups_is_held_out_for_each_split_that_is_missing() -> None:
    ids = [f"{n}" for n in range(100)]
    found = described(ids)
    assert {split: len(x) for split, x in found.items()} == {"train": 80 + 1, "validation": 9, "test": 10}
    assert sorted(i for x in found.values() for i in x) == sorted(ids)
    assert described(ids) == found
    grouped = described([{"id": i, "group": str(int(i) // 5)} for i in ids])
    groups = {split: {int(i) // 5 for i in x} for split, x in grouped.items()}
    assert {split: len(x) for split, x in groups.items()} == {"train": 17, "validation": 1, "test": 2}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    own = described({"train": ids, "test": ["a", "b"]})
    assert own["test"] == ("a", "b")
    assert len(own["validation"]) == 10
    assert described({"test": ["a"]}) == {"train": (), "validation": (), "test": ("a",)}
    assert described(["a"]) == {"train": ("a",), "validation": (), "test": ()}


def change_file(folder: Path) -> None:
    (folder / "game.py").write_text((folder / "game.py").read_text() + "\n# another version\n")


CHANGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "version": lambda folder: {"arguments": {"version": "2"}},
    "examples": lambda folder: {"arguments": {"count": 41}},
    "file": lambda folder: change_file(folder) or {},  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_identity_names_version_examples_and_files_and_no_place(tmp_path: Path, kind: str) -> None:
    (tmp_path / "far").mkdir()
    here, far = game(tmp_path), game(tmp_path / "far")
    first = describe(here)[1]
    assert describe(far)[1] == first
    assert str(tmp_path) not in json.dumps(first)
    changed = here.model_copy(update=CHANGES[kind](tmp_path))
    assert describe(changed)[1] != first


def test_the_program_of_the_docs_plays_as_they_say(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)\n```", (HERE.parent / "docs" / "environments.md").read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 25
    (tmp_path / "game.py").write_text(block)
    config = EnvironmentConfig(environment=f"{sys.executable} {tmp_path / 'game.py'}")
    assert {split: len(ids) for split, ids in describe(config)[0].examples.items()} == {
        "train": 81,
        "validation": 9,
        "test": 10,
    }
    with Client(config) as client:
        world, other = client.environment("13"), client.environment("13")
        assert world.reset() == other.reset()
        assert world.step("a 2?") == Step([Message("user", "No. Another one.")], -0.1)
        assert world.step("a 3?") == Step([], 1.0, True)
        assert other.cut(StopReason.TOKEN_LIMIT) is None


def test_a_program_ends_when_the_process_that_asks_it_is_killed(tmp_path: Path) -> None:
    environment = game(tmp_path).environment
    code = f"""
import time
from shiqbench_tasks.environment.client import Client
from shiqbench_tasks.environment.config import EnvironmentConfig
client = Client(EnvironmentConfig(environment={environment!r}))
client.running()
print(client._program._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        pid = int(asking.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        asking.kill()
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    pytest.fail("it is still there")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, r"no environment is given \(task.environment\); see docs/environments.md"),
        ({"environment": "pyhton game.py"}, r"no program 'pyhton' \(task.environment = pyhton game.py\); give"),
        ({"environment": "verifier:wordle"}, r"no program 'verifier:wordle', did you mean 'verifiers:'\?"),
        ({"environment": "python 'game.py"}, r"not a command line: No closing quotation .*close the quotes"),
        ({"environment": "verifiers:"}, r"the name is missing"),
        ({"environment": "openenv:localhost:8000"}, r"not a URL .*; give openenv:http://HOST:PORT"),
        ({"environment": "verifiers:x", "python": "/nowhere"}, r"no such interpreter \(task.python = /nowhere\)"),
        ({"environment": "python gam.py"}, r"exit code 2: .*can't open file .*gam.py"),
        ({"environment": "verifiers:wordle"}, r"cannot import verifiers .*; set task.python to an interpreter with"),
        ({"environment": "openenv:http://127.0.0.1:9"}, r"/metadata gives no answer .*; is an OpenEnv server there\?"),
    ],
)
def test_what_is_mistyped_is_said_in_one_line(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        describe(EnvironmentConfig(**settings))
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"action": "text"}, "action cannot be honoured: only an environment openenv:URL has it"),
        ({"seeds": 7}, "seeds cannot be honoured"),
        ({"python": "python3"}, "python cannot be honoured: a command line names its own interpreter"),
        ({"rollout_model": "cell:abc"}, "a task does not know where cells are"),
        ({"step_seconds": 60}, "less than or equal to 50"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        EnvironmentConfig(environment="python game.py", **settings)


def test_a_virtual_environment_is_named_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    found = source(EnvironmentConfig(environment="verifiers:x", python=str(tmp_path)))
    assert found.command[0] == str(tmp_path / "bin" / "python")
    assert found.command[2:] == ("classic_verifiers", "x")
