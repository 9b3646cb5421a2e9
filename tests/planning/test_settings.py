"""A setting on its way from the command line, or from Python, to the loss."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support import HERE, TOY

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.commands.app import main
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.settings import nest
from shiqbench.plugin.registry import registry

KEEPS = TOY.parent / "keeps.py"
SMALL = {"task.seeds": 2, "train.updates": 2}


class Marked(float):
    """A number that any detour through text, or any copy, replaces by another object."""


@pytest.fixture
def kept() -> list[Any]:
    """What the loss finds in ``algo.value``."""
    found: list[Any] = registry((KEEPS,)).algorithm("keeps").load().kept
    found.clear()
    return found


def test_the_loss_gets_the_object_that_python_gave(kept: list[Any], tmp_path: Path) -> None:
    value = Marked(0.1)
    settings = {**SMALL, "algo.value": value}
    shiqbench.run("keeps", "mdp", preset="smoke", set=settings, plugins=(KEEPS,), results=tmp_path)
    assert kept
    assert all(each is value for each in kept)


@pytest.mark.parametrize(("text", "value"), [("0.1", 0.1), ("true", True), ("[1, 2]", [1, 2]), ("word", "word")])
def test_the_loss_gets_the_value_that_was_typed(kept: list[Any], text: str, value: Any, tmp_path: Path) -> None:
    words = ["run", "--algo", "keeps", "--task", "mdp", "--preset", "smoke", "--plugin", str(KEEPS)]
    for assignment in (*(f"{k}={v}" for k, v in SMALL.items()), f"algo.value={text}"):
        words += ["--set", assignment]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--results", str(tmp_path)])
    assert kept
    assert all(type(each) is type(value) and each == value for each in kept)


@pytest.mark.slow
def test_the_way_of_a_setting_is_the_documented_one(tmp_path: Path) -> None:
    text = (HERE.parent / "docs" / "architecture.md").read_text()
    section = text.partition("## The way of a setting")[2]
    documented = re.findall(r"^\d+\. `([\w.]+)`", section, re.MULTILINE)
    command = re.search(r"`shiqbench (run .*)`", section)
    assert command
    called: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            called.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")

    words = [*command[1].split(), "--preset", "smoke", "--results", str(tmp_path)]
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        with pytest.raises(SystemExit, match="0"):
            main([*words, *(w for k, v in SMALL.items() for w in ("--set", f"{k}={v}"))])
    finally:
        sys.setprofile(before)
    assert len(documented) > 10
    calls = iter(called)
    assert [name for name in documented if name not in calls] == []  # each after the one before it


def test_an_assignment_is_json_or_else_plain_text() -> None:
    found = parse_assignments(["algo.beta=0.1", "task.suites=a,b", "train.updates=null", "start=none", "task.x=a=b"])
    assert found == {"algo.beta": 0.1, "task.suites": "a,b", "train.updates": None, "start": "none", "task.x": "a=b"}
    with pytest.raises(ConfigError, match=r"'algo\.beta' assigns nothing"):
        parse_assignments(["algo.beta"])


@pytest.mark.parametrize("key", ["algos.beta", "beta", "algo"])
def test_a_key_from_python_is_checked_like_a_typed_one(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting '{key}'.*sections are algo, task"):
        shiqbench.run("shiq", "mdp", set={key: 0.1}, results=tmp_path)


def test_merging_settings_leaves_them_as_they_are() -> None:
    whole = {"task": {"words": 3}}
    nested = nest({"also.toy": whole, "also.toy.task.good": False})
    assert nested["also"]["toy"] == {"task": {"words": 3, "good": False}}
    assert whole == {"task": {"words": 3}}
