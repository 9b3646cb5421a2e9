"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shiqbench.plugin import ConfigError, EvalConfig, Section, TaskConfig
from shiqbench_tasks.bfcl_v3.versions import Category  # noqa: TC001 - pydantic reads it
from shiqbench_tasks.rows import rollout_settings

Behaviour = Literal["ground_truth", "perturbed", "recorded", "rollout"]
# Fields that were added after the first published numbers. At their defaults they do not enter digests, so that
# older cells are still found.
ADDED = (
    "parser",
    "call_penalty",
    "recorded",
    "recorded_disagreement",
    "rollout_samples",
    "rollout_model",
    "rollout_temperature",
    "rollout_seed",
    "rollout_engine",
    "rollout_precision",
    "rollout_max_steps",
    "rollout_max_tokens",
    "rollout_max_episode_tokens",
    "rollout_max_context",
)


class BfclConfig(TaskConfig):
    """Settings of the task: data and prompt, the episodes that the model learns from, and their rewards."""

    setting_fields: ClassVar[tuple[str, ...]] = ("data_version", "categories", "prompt", "parser", "primary")
    place_fields: ClassVar[tuple[str, ...]] = ("recorded", "rollout_model")  # offline_identity names what lies there

    data_version: Literal["v3", "v4"] = Field(default="v3", description="bfcl-eval 2025.7.17 or 2026.3.23")
    categories: tuple[Category, ...] = Field(
        default=("base",), min_length=1, description="base, miss_func, miss_param, long_context; all have one split"
    )
    prompt: Literal["reduced", "official", "native"] = Field(
        default="reduced",
        description="reduced: one line per tool; official: the leaderboard's text, 38,000 characters on average; "
        "native: the chat template's own tool format",
    )
    parser: Literal["auto", "hermes", "llama3_json", "pythonic"] = Field(
        default="auto", description="format of calls under prompt native; auto finds it in the model's chat template"
    )
    primary: Literal["turn_accuracy", "turn_reward", "valid"] = Field(
        default="turn_accuracy",
        description="headline metric: share of right turns, mean sum of an episode's turn rewards, or share of valid "
        "episodes",
    )
    reward: Literal["episode", "turn"] = Field(
        default="turn", description="1 for a valid episode at its end, or 1/turns for each right turn"
    )
    centre: Literal["none", "dataset", "group"] = Field(
        default="none", description="subtract the mean return of the data set, or of the scenario"
    )
    call_penalty: float = Field(default=0.0, ge=0, description="subtracted from the return for every call")
    behaviours: tuple[Behaviour, ...] = Field(
        default=("ground_truth", "perturbed"),
        min_length=1,
        description="offline episodes to learn from: ground_truth, perturbed, recorded, rollout",
    )
    recorded: str | None = Field(
        default=None, description="folder of recorded episodes in the leaderboard's layout, result/<model>/..."
    )
    recorded_disagreement: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="largest share of a recorded file's scores that may differ from the scores computed here",
    )
    perturbations: int = Field(default=3, ge=1, description="perturbed episodes per scenario")
    data_seed: int = Field(default=0, description="seed of the perturbations")
    scenarios: int | None = Field(default=None, gt=0, description="only the first N training scenarios")
    rollout_samples: int = Field(default=4, ge=1, description="rollouts per scenario")
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
    rollout_max_steps: int = Field(default=20, gt=0, description="model steps per user turn")
    rollout_max_tokens: int = Field(default=512, gt=0, description="tokens per message")
    rollout_max_episode_tokens: int = Field(default=8192, gt=0, description="generated tokens per episode")
    rollout_max_context: int = Field(default=8192, gt=0, description="tokens of prompt and completion")

    @model_validator(mode="after")
    def _no_repeats(self) -> BfclConfig:
        for name in ("categories", "behaviours"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one value twice")
        return self

    @model_validator(mode="after")
    def _recorded_needs_a_folder(self) -> BfclConfig:
        if ("recorded" in self.behaviours) != (self.recorded is not None):
            raise ValueError("behaviour recorded and task.recorded=FOLDER need each other")
        if "recorded_disagreement" in self.model_fields_set and self.recorded is None:
            raise ValueError("recorded_disagreement cannot be honoured without recorded episodes")
        return self

    @model_validator(mode="after")
    def _rollout_settings_need_rollouts(self) -> BfclConfig:
        given = sorted(name for name in self.model_fields_set if name.startswith("rollout_"))
        if given and not self.has_rollouts:
            raise ConfigError(
                f"task.{given[0]} cannot be honoured without behaviour rollout",
                where="--set",
                do='leave it out, or add "rollout" to task.behaviours',
            )
        rollout_settings.check_model(self.rollout_model)
        return self

    @model_validator(mode="after")
    def _a_parser_is_for_native_calls(self) -> BfclConfig:
        if self.parser != "auto" and self.prompt != "native":
            raise ValueError(f"parser {self.parser} cannot be honoured under prompt {self.prompt}")
        return self

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        kind = type(self).model_fields
        unset = [n for n in ADDED if getattr(self, n) == kind[n].get_default(call_default_factory=True)]
        return {name: value for name, value in values.items() if name not in unset}

    @property
    def has_rollouts(self) -> bool:
        """Whether a model is sampled for the training data."""
        return "rollout" in self.behaviours

    def defaults_from(self, evaluation: Section) -> dict[str, Any]:
        """Return the evaluation's values for the sampling settings that are not given."""
        return rollout_settings.defaults_from(self, evaluation) if self.has_rollouts else {}

    def sampling(self) -> EvalConfig:
        """Return the settings for sampling rollouts."""
        return rollout_settings.sampling(self)

    def reduced(self) -> bool:
        """Whether the prompt is the reduced one, which is not official."""
        return self.prompt == "reduced"
