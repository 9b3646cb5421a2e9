"""Settings: defaults are the same setting as the same values given explicitly; what cannot be honoured is refused."""

from __future__ import annotations

from typing import Any

import pytest
from shiqbench_tasks.chat_mdp.config import ChatMdpConfig

from shiqbench.base.errors import ConfigError
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.validation import validate
from shiqbench.running.runner import check_needs


def test_a_default_is_the_same_setting_as_the_same_value() -> None:
    given: dict[str, Any] = {
        "mdp": "grid",
        "actions": 4,
        "horizon": 4,
        "words": ("up", "down", "left", "right"),
        "episodes": 64,
    }
    assert ChatMdpConfig(mdp="grid") == ChatMdpConfig(**given)
    assert len(ChatMdpConfig().words) == 30
    assert ChatMdpConfig().words_of(0) == ("red", "green", "blue")
    assert ChatMdpConfig().words_of(1) == ("one", "two", "three")
    assert ChatMdpConfig(seeds=40).words_of(16) == ("red", "green", "blue")
    assert ChatMdpConfig(actions=2, words=("a", "b", "c", "d")).words_of(1) == ("c", "d")
    assert ChatMdpConfig(words=("a", "b")).actions == 2
    assert ChatMdpConfig().episodes is None
    assert ChatMdpConfig(behaviour="expert").episodes == 64


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"mdp": "grid", "actions": 3}, "task.actions cannot be honoured: a grid has 4 moves"),
        ({"words": ("a", "b"), "actions": 3}, "task.words cannot be honoured: 2 words for 3 actions"),
        ({"actions": 60}, "task.words cannot be honoured: 48 words for 60 actions"),
        ({"words": ("a", "a")}, "task.words cannot be honoured: each action needs a word of its own"),
        ({"words": ("a", " ")}, "task.words cannot be honoured: each action needs a word of its own"),
        ({"mdp": "grid", "horizon": 8}, "218,450 states to write down in 10 instances; at most 10,000"),
        ({"horizon": 7, "seeds": 20}, "21,860 states to write down in 20 instances; at most 10,000"),
        ({"teach": "words", "coverage": 0.5}, "task.teach = words cannot be honoured"),
        ({"beta": 0.0}, "beta"),
        ({"seeds": 1}, "seeds"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(ChatMdpConfig, settings, "task")
    assert line in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("algo", "settings", "line"),
    [
        ("shiq", {"algo.beta": 0.1}, "algo.beta = 0.1 but task.beta = 0.5"),
        ("copg", {"task.beta": 1.0}, "algo.beta = 0.5 but task.beta = 1"),
        (
            "rebel",
            {"algo.eta": 1.0},
            "the temperature that the algorithm states = 1 but task.beta = 0.5; set task.beta to it, or change what it "
            "comes from (algo.eta = 1.0)",
        ),
        ("shiq", {"algo.gamma": 0.9}, "algo.gamma = 0.9 but task.gamma = 1"),
    ],
)
def test_an_algorithm_of_another_objective_is_refused(algo: str, settings: dict[str, Any], line: str) -> None:
    plan = make_plan(Request(algo, "chat_mdp", settings=settings))
    with pytest.raises(ConfigError) as caught:
        check_needs(plan.cell)
    assert caught.value.line().startswith(line)


@pytest.mark.parametrize("algo", ["shiq", "dpo", "dmpo", "copg", "dro", "reval", "oreo", "sft", "dqo"])
def test_the_preset_s_algorithms_have_the_objective_of_the_task(algo: str) -> None:
    plan = make_plan(Request(algo, "chat_mdp"))
    for cell in plan.trained:
        check_needs(cell)
    assert plan.cell.start is not None
    assert plan.cell.start.task_config.deciding()["teach"] == "words"
