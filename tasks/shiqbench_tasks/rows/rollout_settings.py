"""Settings of rollouts, which several tasks have under the same names; importing it costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from shiqbench.plugin import ConfigError, EvalConfig

if TYPE_CHECKING:
    from shiqbench.plugin import Section

ROLLOUT = "rollout"  # the behaviour of such episodes
# Rollouts are sampled with the preset's evaluation settings, unless a setting says otherwise.
AS_EVALUATED = ("engine", "precision", "max_steps", "max_tokens", "max_episode_tokens", "max_context")


class RolloutSettings(Protocol):
    """What a task's configuration says about its rollouts."""

    @property
    def model_fields_set(self) -> set[str]:
        """The settings that were given."""

    @property
    def rollout_samples(self) -> int:
        """Rollouts per example."""

    @property
    def rollout_model(self) -> str | None:
        """The model to sample; None takes the one that training starts from."""

    @property
    def rollout_temperature(self) -> float:
        """Temperature of sampling."""

    @property
    def rollout_seed(self) -> int:
        """Seed of sampling."""

    @property
    def rollout_engine(self) -> str:
        """Name of the engine."""

    @property
    def rollout_precision(self) -> Literal["bf16", "fp32"]:
        """Precision of the engine."""


def defaults_from(config: RolloutSettings, evaluation: Section) -> dict[str, Any]:
    """Return the evaluation's values for the sampling settings that are not given."""
    names = {f"rollout_{name}": name for name in AS_EVALUATED}
    return {key: getattr(evaluation, name) for key, name in names.items() if key not in config.model_fields_set}


def sampling(config: RolloutSettings) -> EvalConfig:
    """Return the settings of sampling."""
    given = {name: getattr(config, f"rollout_{name}") for name in (*AS_EVALUATED, "temperature", "seed")}
    return EvalConfig(split="train", **given)


def check_model(name: str | None) -> None:
    """Refuse a cell as the model to sample.

    Raises:
        ConfigError: It is one.
    """
    if name is not None and name.startswith("cell:"):
        raise ConfigError(
            "a task does not know where cells are",
            where=f"task.rollout_model = {name}",
            do="give the folder checkpoint/ of that cell, a hub name, or the embedded model",
        )
