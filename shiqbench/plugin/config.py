"""The configuration of a run: sections and their defaults. This module does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shiqbench.base.machine import bf16_is_slow, has_gpu


def _resolved(precision: Any) -> Any:
    """What ``auto`` means on this machine. It is resolved once, so a cell names the precision that it has."""
    if precision != "auto":
        return precision
    return "fp32" if bf16_is_slow() and not has_gpu() else "bf16"


Precision = Annotated[Literal["bf16", "fp32"], BeforeValidator(_resolved)]
PRECISION = "of the model's body; auto: bf16, or fp32 on a machine without GPU and AVX-512"
BaseWeights = Literal["fp32", "bf16", "int8"]


class Section(BaseModel):
    """A configuration section: frozen; unknown keys, infinite numbers and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    place_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that say where something lies. An identity names what lies there, so digests leave the fields out."""

    def deciding(self) -> dict[str, Any]:
        """The values that enter digests."""
        return self.model_dump(mode="json", exclude=set(self.place_fields))

    def places(self) -> dict[str, Any]:
        """Where things lie, for readers: a path that exists is absolute."""
        values = self.model_dump(mode="json", include=set(self.place_fields))
        return {name: _absolute(value) for name, value in values.items() if value}

    def summary(self) -> str:
        """Describe in a few words what the user should know before the work starts."""
        return ", ".join(f"{k} {v}" for k, v in self.model_dump().items())


def _absolute(value: Any) -> Any:
    path = Path(value).expanduser() if isinstance(value, str) else None
    return str(path.absolute()) if path is not None and path.exists() else value


class AlgorithmConfig(Section):
    """Base of every algorithm's hyper-parameters."""


class TaskConfig(Section):
    """Base of every task's configuration.

    ``setting_fields`` names the fields that decide what is asked of the model (data version, prompt);
    the other fields only decide what the model learns from. Results are compared within one setting. A field
    that a serializer leaves out (a field that was added later and has its default) is left out here too. A place is
    shared, but it is no part of the setting: moved data are the same data.
    """

    setting_fields: ClassVar[tuple[str, ...]] = ()
    judging_fields: ClassVar[tuple[str, ...]] = ()
    """The setting fields that decide only how answers are judged; another choice does not train anything again."""
    validation: ClassVar[dict[str, Any]] = {"eval.split": "validation"}
    """The settings of an evaluation on which choices are made, such as those of tuning."""

    def setting(self) -> dict[str, Any]:
        """The fields that all compared cells must share."""
        values = self.deciding()
        return {name: values[name] for name in self.setting_fields if name in values}

    def defaults_from(self, evaluation: Section) -> dict[str, Any]:
        """Values for settings that were not given and that follow from the preset's evaluation."""
        return {}

    def reduced(self) -> bool:
        """Whether the setting is easier than the official one; its numbers are then marked wherever they are shown."""
        return False


class RewardConfig(Section):
    """Base of every reward model's settings."""


class EngineConfig(Section):
    """Base of every engine's settings.

    A setting at its default is left out of digests, so an engine may get new settings and old results are still found.
    """

    free_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that change how text is computed, and never the text; digests leave them out."""

    def deciding(self) -> dict[str, Any]:
        """The values that enter digests."""
        return self.model_dump(mode="json", exclude={*self.place_fields, *self.free_fields}, exclude_defaults=True)


class TrainConfig(Section):
    """Settings of the training loop.

    The budget is either ``updates`` or ``tokens`` (prompt and action tokens of the policy's passes).
    """

    updates: int | None = Field(default=30, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    batch_episodes: int = Field(default=4, gt=0, description="episodes per update")
    micro_tokens: int = Field(default=3072, gt=0, description="tokens per forward pass; bounds memory")
    share_prefix: bool = Field(default=True, description="compute each shared prefix of a pass once")
    lr: float = Field(default=2e-5, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the budget")
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    clip: float = Field(
        default=1.0, gt=0, description="largest gradient norm, for the model and for its heads separately"
    )
    precision: Precision = Field(default="bf16", description=PRECISION)
    lora_rank: int = Field(default=0, ge=0, description="0 trains all weights")
    lora_alpha: float = Field(default=32.0, gt=0)
    base_weights: BaseWeights = Field(
        default="fp32", description="type of the weights that LoRA does not train; int8 needs bitsandbytes"
    )
    top_layers: int | None = Field(
        default=None, gt=0, description="train only the last N layers, or adapt only them; null trains all weights"
    )
    checkpointing: bool = Field(default=False, description="recompute activations to save memory")
    save_every: int = Field(default=20, gt=0, description="updates between resumable checkpoints")
    max_tokens: int = Field(default=4096, gt=0, description="longest episode; a longer one is an error")
    head_lr: float = Field(default=1e-3, gt=0, description="learning rate of value and Q heads, if there are any")

    @model_validator(mode="after")
    def _only_frozen_weights_are_small(self) -> TrainConfig:
        if self.base_weights != "fp32" and not self.lora_rank:
            raise ValueError(f"base_weights {self.base_weights} cannot be honoured: all weights train; set lora_rank")
        if self.base_weights != "fp32" and self.precision != "bf16":
            raise ValueError(f"base_weights {self.base_weights} cannot be honoured in fp32; set precision to bf16")
        return self

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """At its default a field that was added later does not enter digests, so that older cells are still found."""
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if k != "base_weights" or v != "fp32"}

    def summary(self) -> str:
        """Describe budget, batch and precision."""
        budget = f"{self.updates} updates" if self.updates else f"{self.tokens} tokens"
        return f"{budget} of {self.batch_episodes} episodes in {self.precision}"


class EvalConfig(Section):
    """Settings of an evaluation: the examples, the sampling, and the limits of an episode.

    All limits are in steps and tokens, so that results are reproducible.
    """

    split: Literal["train", "validation", "test"] = "test"
    engine: str = "vllm"
    precision: Precision = Field(default="bf16", description=PRECISION)
    examples: int | None = Field(default=None, gt=0, description="only the first N examples")
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0
    repeats: int = Field(default=1, gt=0)
    max_steps: int = Field(default=20, gt=0, description="model steps per user turn")
    max_tokens: int = Field(default=512, gt=0, description="tokens per message")
    max_episode_tokens: int = Field(default=8192, gt=0, description="generated tokens per episode")
    max_context: int = Field(default=8192, gt=0, description="prompt and completion")

    def summary(self) -> str:
        """Describe split and precision."""
        return f"on {self.split} in {self.precision}"


class ModelConfig(Section):
    """How the model is used.

    Attributes:
        template: Further keywords of the model's chat template, such as ``enable_thinking``.
    """

    template: dict[str, Any] = Field(default_factory=dict)


class StartConfig(Section):
    """Another cell that is trained first and then serves as model and reference.

    Attributes:
        algorithm: Algorithm of that cell, or ``none`` to start from the model itself.
        seed: Training seed of that cell; all cells that start from it share it.
        algo: Overrides of that algorithm's configuration.
        task: Overrides of the task's configuration for that training.
        train: Overrides of the training configuration.
    """

    algorithm: str = "none"
    seed: int = 0
    algo: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
