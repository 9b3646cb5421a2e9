"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shiqbench.plugin import ConfigError, EvalConfig, Section, TaskConfig
from shiqbench_tasks.rows import rollout_settings

OPENENV, VERIFIERS = "openenv:", "verifiers:"
# How long to wait, and how many episodes exist at a time, change no text; digests leave them out.
FREE = ("start_seconds", "step_seconds", "at_once")
OF_OPENENV = ("action", "observation", "seeds")
LONGEST_STEP = 50.0  # seconds; a message and what follows it are stopped after 60


class EnvironmentConfig(TaskConfig):
    """The environment, the program that plays it, and the rollouts that the model learns from."""

    setting_fields: ClassVar[tuple[str, ...]] = ("environment", "python", "arguments", *OF_OPENENV)
    # data_identity names what is there: an environment with its version, or the files of a command line.
    place_fields: ClassVar[tuple[str, ...]] = ("environment", "python", "rollout_model")

    environment: str = Field(
        default="", description='verifiers:NAME, openenv:http://HOST:PORT, or a command line such as "python game.py"'
    )
    python: str | None = Field(
        default=None, description="the interpreter in which verifiers or websockets is installed; null: this one"
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="for load_environment of verifiers, for reset of OpenEnv, or for describe of a program",
    )
    action: str | None = Field(
        default=None,
        description="openenv: field of the action that takes the model's message; json: the message is the action; "
        "null: the action's only text field",
    )
    observation: str | None = Field(
        default=None,
        description="openenv: field of the observation that the model is shown; json: all of it; null: the "
        "observation's only text field",
    )
    seeds: int = Field(default=100, gt=0, description="openenv: examples; each is a seed of reset")
    start_seconds: float = Field(default=300.0, gt=0, description="for the program to start and describe itself")
    step_seconds: float = Field(default=30.0, gt=0, le=LONGEST_STEP, description="for one answer of the program")
    at_once: int | None = Field(
        default=None, gt=0, description="most episodes at a time; null: what the program says, such as 1 for openenv"
    )
    train_examples: int | None = Field(default=None, gt=0, description="only the first N training examples")
    centre: Literal["none", "dataset", "group"] = Field(
        default="none", description="subtract the mean return of all rollouts, or of the example's rollouts"
    )
    rollout_samples: int = Field(default=4, ge=1, description="rollouts per example")
    rollout_model: str | None = Field(
        default=None,
        description="folder, hub name or embedded model to sample; null: the model that training starts from",
    )
    rollout_temperature: float = Field(
        default=1.0, gt=0, description="only at 1 do rollouts follow the model's own policy"
    )
    rollout_seed: int = Field(default=0, description="seed of sampling")
    rollout_engine: str = Field(default="vllm", description="this and the following: default as in the evaluation")
    rollout_precision: Literal["bf16", "fp32"] = "bf16"
    rollout_max_steps: int = Field(
        default=20, gt=0, description="messages of the model between two messages of the user"
    )
    rollout_max_tokens: int = Field(default=512, gt=0, description="tokens per message")
    rollout_max_episode_tokens: int = Field(default=8192, gt=0, description="generated tokens per episode")
    rollout_max_context: int = Field(default=8192, gt=0, description="tokens of prompt and completion")

    @model_validator(mode="after")
    def _honoured(self) -> EnvironmentConfig:
        """Refuse settings that this kind of environment does not use."""
        rollout_settings.check_model(self.rollout_model)
        if not self.environment:
            return self
        if not self.environment.startswith(OPENENV):
            given = [name for name in OF_OPENENV if name in self.model_fields_set and self._differs(name)]
            if given:
                raise _unmet(given[0], "only an environment openenv:URL has it")
        if self.python is not None and not self.environment.startswith((OPENENV, VERIFIERS)):
            raise _unmet("python", "a command line names its own interpreter")
        return self

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def deciding(self) -> dict[str, Any]:
        """The values that enter digests."""
        return {name: value for name, value in super().deciding().items() if name not in FREE}

    def defaults_from(self, evaluation: Section) -> dict[str, Any]:
        """Return the evaluation's values for the sampling settings that are not given."""
        return rollout_settings.defaults_from(self, evaluation)

    def sampling(self) -> EvalConfig:
        """Return the settings for sampling rollouts."""
        return rollout_settings.sampling(self)


def _unmet(setting: str, why: str) -> ConfigError:
    return ConfigError(f"task.{setting} cannot be honoured: {why}", where="--set", do="leave it out")
