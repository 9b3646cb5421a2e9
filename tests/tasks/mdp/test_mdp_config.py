"""Settings: defaults by kind, what is refused, and what stays out of the setting."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError
from shiqbench_tasks.mdp.config import MdpConfig, MdpTrainConfig

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.validation import validate


def test_a_default_size_is_the_same_setting_as_that_size_typed() -> None:
    assert MdpConfig() == MdpConfig(actions=3, horizon=5)
    assert MdpConfig(mdp="chain", states=5).setting() == MdpConfig(mdp="chain").setting()
    assert MdpConfig.model_validate(MdpConfig(mdp="grid").model_dump()) == MdpConfig(mdp="grid")


def test_data_fields_are_no_part_of_the_setting() -> None:
    plain = MdpConfig()
    others = MdpConfig(behaviour="expert", coverage=0.5, data="sample", episodes=7, completions=3)
    assert others.setting() == plain.setting()
    data = {"behaviour", "coverage", "data", "episodes", "completions"}
    assert set(MdpConfig.model_fields) == data | set(MdpConfig.setting_fields)
    for change in ({"beta": 0.1}, {"offset": 1.0}, {"noise": 0.1}, {"seeds": 3}, {"reference": "peaked"}):
        assert MdpConfig(**change).setting() != plain.setting()


@pytest.mark.parametrize(
    ("settings", "count", "exact"),
    [
        ({"mdp": "bandit"}, 10, True),
        ({"mdp": "tree"}, 243, True),
        ({"mdp": "tree", "coverage": 0.6}, 32, True),
        ({"mdp": "tree", "horizon": 9}, 19683, False),
        ({"mdp": "tree", "horizon": 4, "noise": 0.1}, 2187, True),
        ({"mdp": "chain"}, 256, True),
        ({"mdp": "random", "data": "sample"}, 243, False),
        ({"mdp": "grid"}, None, False),
    ],
)
def test_exact_where_at_most_ten_thousand_trajectories(settings: dict[str, Any], count: int, exact: bool) -> None:
    config = MdpConfig(**settings)
    assert (config.trajectories, config.exact) == (count, exact)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "exact", "horizon": 9}, r"19,683 trajectories; an exact .* 10,000 .*; set task.data=sample"),
        ({"data": "exact", "mdp": "grid"}, r"too many trajectories; .*; set task.data=sample"),
        ({"horizon": 30}, r"102,945,566,047,324 states in each instance; .* \(task.horizon = 30\)"),
        ({"mdp": "bandit", "horizon": 2}, r"task.horizon cannot be honoured: it is fixed for a bandit"),
        ({"mdp": "tree", "states": 4}, r"task.states cannot be honoured"),
        ({"mdp": "grid", "actions": 5}, r"task.actions cannot be honoured"),
        ({"mdp": "bandit", "noise": 0.5}, r"a bandit has no transitions"),
        ({"mdp": "tree", "arm_rewards": "1,2"}, r"one number for each arm of a bandit"),
        ({"mdp": "bandit", "actions": 3, "arm_rewards": "1,2"}, r"one number for each arm"),
        ({"mdp": "bandit", "arm_rewards": "1,NaN"}, r"task.arm_rewards.1 = .NaN.: input should be a finite number"),
        ({"episodes": 9}, r"task.episodes cannot be honoured: the expectation is exact .*; set task.data=sample"),
        ({"offset": float("nan")}, r"task.offset = NaN: input should be a finite number"),
        ({"coverage": 0.0}, r"task.coverage = 0.0"),
        ({"seeds": 1}, r"task.seeds = 1"),
        ({"mdp": "maze"}, r"task.mdp = .maze.: input should be 'bandit'"),
        ({"horizn": 2}, r"did you mean 'task.horizon'"),
    ],
)
def test_what_cannot_be_honoured_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate(MdpConfig, settings, "task")
    assert "\n" not in caught.value.line()
    assert "value error" not in caught.value.line()


def test_arm_rewards_give_the_number_of_arms() -> None:
    assert validate(MdpConfig, {"mdp": "bandit", "arm_rewards": "1,2.5,-3"}, "task").actions == 3


def test_training_settings_are_this_tasks_own() -> None:
    with pytest.raises(ValidationError):
        MdpTrainConfig(micro_tokens=3)  # type: ignore[call-arg]
    assert (
        MdpTrainConfig(batch_episodes=8).summary() == "300 (table) or 600 (transformer) updates of 8 episodes with adam"
    )


def test_listing_and_validating_stay_light() -> None:
    code = (
        "import sys; from shiqbench.plugin.registry import registry; t = registry().task('mdp'); t.load_config()(); "
        "[k() for k in t.load_sections()]; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("settings", "episodes"), [({"mdp": "grid"}, 2048), ({"data": "sample"}, 512), ({}, None)])
def test_the_default_sample_and_the_same_number_are_one_setting(settings: dict[str, Any], episodes: int | None) -> None:
    default = MdpConfig(**settings)
    assert default.episodes == episodes
    assert default == MdpConfig(**settings, episodes=episodes)
    assert default == MdpConfig(**default.model_dump())
