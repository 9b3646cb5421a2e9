"""A spec from its class, without a word typed twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from shiqbench.base.errors import PluginError
from shiqbench.plugin import (
    Algorithm,
    AlgorithmConfig,
    AlgorithmSpec,
    ExactTask,
    RewardConfig,
    RewardModel,
    RewardSpec,
    Task,
    TaskConfig,
    TaskSpec,
)

if TYPE_CHECKING:
    from shiqbench_tasks.mdp.config import MdpConfig

C = TypeVar("C", bound=AlgorithmConfig)


class MineConfig(AlgorithmConfig): ...


class WordsConfig(TaskConfig): ...


class BriefConfig(RewardConfig): ...


class MyDPOLoss(Algorithm[MineConfig]): ...


class Child(MyDPOLoss): ...


class Between(Algorithm[C]): ...


class Leaf(Between[MineConfig]): ...


class Bare(Algorithm): ...  # type: ignore[type-arg]


class Words(Task):
    config: WordsConfig


class Hidden(Task):
    config: MdpConfig


class Silent(Task): ...


class Solved(ExactTask):
    config: WordsConfig


class Brief(RewardModel[BriefConfig]): ...


def test_everything_follows_from_the_class() -> None:
    spec = AlgorithmSpec.of(MyDPOLoss, summary="s")
    assert (spec.name, spec.version, spec.summary, spec.trains) == ("my_dpo_loss", "1", "s", True)
    assert spec.load() is MyDPOLoss
    assert spec.load_config() is MineConfig
    assert spec == AlgorithmSpec(
        name="my_dpo_loss",
        version="1",
        summary="s",
        target=f"{__name__}:MyDPOLoss",
        config=f"{__name__}:MineConfig",
    )


def test_what_is_given_is_taken() -> None:
    assert AlgorithmSpec.of(Leaf, summary="s", name="other", version="7", trains=False).version == "7"
    assert AlgorithmSpec.of(Leaf, summary="s", name="other", trains=False).trains is False
    spec = TaskSpec.of(Words, summary="s", presets={"smoke": {"train.updates": 2}}, argument="x")
    assert (spec.name, spec.argument, spec.presets) == ("words", "x", {"smoke": {"train.updates": 2}})
    with pytest.raises(TypeError, match="trainz"):
        AlgorithmSpec.of(Leaf, summary="s", trainz=False)


@pytest.mark.parametrize(
    ("kind", "component", "config"),
    [
        (AlgorithmSpec, Child, MineConfig),
        (AlgorithmSpec, Leaf, MineConfig),
        (TaskSpec, Words, WordsConfig),
        (RewardSpec, Brief, BriefConfig),
    ],
)
def test_the_configuration_is_found(kind: Any, component: type, config: type) -> None:
    assert kind.of(component, summary="s").load_config() is config


@pytest.mark.parametrize(
    ("kind", "component", "wanted"),
    [
        (AlgorithmSpec, Bare, "AlgorithmConfig"),
        (AlgorithmSpec, Between, "AlgorithmConfig"),
        (TaskSpec, Silent, "TaskConfig"),
        (TaskSpec, Hidden, "TaskConfig"),
        (TaskSpec, Leaf, "TaskConfig"),
    ],
)
def test_a_class_that_does_not_tell_is_one_clear_line(kind: Any, component: type, wanted: str) -> None:
    with pytest.raises(PluginError) as caught:
        kind.of(component, summary="s")
    said = str(caught.value)
    assert said.startswith(f"{component.__name__} does not say which {wanted} it takes ({__name__}); write `config: ")
    assert "\n" not in said


def test_a_class_inside_a_function_cannot_be_named() -> None:
    class Inner(Algorithm[MineConfig]): ...

    with pytest.raises(PluginError, match=r"Inner cannot be imported by name .*; move it to the module's top"):
        AlgorithmSpec.of(Inner, summary="s")


def test_an_exact_task_says_by_its_class_that_it_has_its_own_policy() -> None:
    assert TaskSpec.of(Solved, summary="solved").own_policy
    assert not TaskSpec.of(Words, summary="words").own_policy
