"""The kit passes every engine that keeps the contract, and refuses each that breaks a line of it, by that line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chat_server import Say, serving

from shiqbench.base.errors import PluginError
from shiqbench.testing import check_engine
from shiqbench.testing.contract import EngineContract as Line
from shiqbench.testing.engines import LOADED, SERVED

BROKEN = Path(__file__).parent / "broken_engines.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_every_built_in_engine_keeps_the_contract(name: str) -> None:
    report = check_engine(name)
    assert set(report.held) == set(Line) - set(SERVED)
    assert set(report.skipped) == set(SERVED)


def test_the_engine_that_asks_a_server_keeps_its_part() -> None:
    with serving() as server:
        report = check_engine("served", {"url": server.url}, model="m")
    assert set(report.held) == set(Line) - set(LOADED)
    assert set(report.skipped) == set(LOADED)


@pytest.mark.parametrize(
    ("say", "found"),
    [
        (Say(usage=(10, 13)), "10 and 13 tokens, limit 12"),
        (Say(usage=(0, 2)), "0 and 2 tokens, limit 12"),
        (Say(usage=None), "chat fails with EngineError: the server's reply has no count of tokens"),
    ],
)
def test_a_server_that_does_not_do_as_it_is_asked_is_found(say: Say, found: str) -> None:
    line = f"engine served breaks its contract: {Line.REPLIES}; found: {found}"
    with serving(lambda body, number: say) as server, pytest.raises(AssertionError, match=re.escape(line)):
        check_engine("served", {"url": server.url}, model="m")


def test_a_sound_plugin_passes() -> None:
    assert set(check_engine("sound", {"rows": 3}, plugins=(BROKEN,)).held) == set(Line) - set(SERVED)


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("loose", Line.CONFIG, ".*Loose.* is not a subclass of EngineConfig"),
        ("Misnamed", Line.STATEMENTS, "it calls itself 'other'"),
        ("Wordless", Line.STATEMENTS, r"writing describe\(\) as JSON fails with TypeError"),
        ("Short", Line.COMPLETIONS, r"without a stop id, \[11, 11, 11, 11, 11\] ids"),
        ("Talkative", Line.COMPLETIONS, "something for no prompts"),
        ("NeverGreedy", Line.GREEDY, "nats below the most probable one"),
        ("Unordered", Line.GREEDY, "nats below the most probable one"),
        ("WholeDistribution", Line.GREEDY, "with top_p 1e-6, an id is .* nats below"),
        ("DropsStops", Line.STOPS, "expected with stop id"),
        ("Tempered", Line.LOGPROBS, "nats away at temperature 0.5"),
        ("OneSeed", Line.SEEDS, "seeds 3 and 4 give the same completions"),
        ("NoSeed", Line.SEEDS, "a seed gives other completions when it is used again"),
        ("Uncertain", Line.SCORES, r"first tokens have \[-1.0"),
        ("Shifted", Line.SCORES, "nats away"),
        ("Stale", Line.LOAD, "nats away after load"),
        ("Unmoved", Line.FINITE, r"generate returns .* for weights with a value that is not a number"),
        ("ClosesOnce", Line.CLOSE, "closing it twice fails with RuntimeError: closed already"),
    ],
)
def test_each_broken_line_is_named(name: str, line: Line, found: str) -> None:
    with pytest.raises(AssertionError, match=f"engine {name} breaks its contract: {re.escape(line)}; found: .*{found}"):
        check_engine(name, plugins=(BROKEN,))


def test_an_unknown_engine_is_no_broken_one() -> None:
    with pytest.raises(PluginError, match="unknown engine 'vlm', did you mean 'vllm'"):
        check_engine("vlm")
