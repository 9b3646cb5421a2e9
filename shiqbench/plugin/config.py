"""The configuration of a run: sections, their defaults, and nothing that imports torch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A configuration section: frozen, and strict about unknown keys and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def summary(self) -> str:
        """What the user should know before minutes are spent, in a few words."""
        return ", ".join(f"{k} {v}" for k, v in self.model_dump().items())


class AlgorithmConfig(Section):
    """Base of every algorithm's hyper-parameters."""


class TaskConfig(Section):
    """Base of every task's configuration.

    ``setting_fields`` names the fields that decide what is asked of the model (data version, prompt);
    the others only decide what it learns from. Results are compared within one setting. A field that a
    serializer leaves out (one that came later, at its default) is left out here too.
    """

    setting_fields: ClassVar[tuple[str, ...]] = ()
    judging_fields: ClassVar[tuple[str, ...]] = ()
    """Those of the setting that decide how answers are judged alone, so that another choice trains nothing anew."""

    def setting(self) -> dict[str, Any]:
        """The fields that every compared cell must share."""
        values = self.model_dump(mode="json")
        return {name: values[name] for name in self.setting_fields if name in values}

    def defaults_from(self, evaluation: Section) -> dict[str, Any]:
        """Values for settings that were not given, where they follow from how the preset evaluates."""
        return {}

    def reduced(self) -> bool:
        """Whether the setting is easier than the official one; marked wherever its numbers are shown."""
        return False


class RewardConfig(Section):
    """Base of every reward model's settings."""


class TrainConfig(Section):
    """Training, as the loop understands it.

    The budget is ``updates`` or ``tokens`` (prompt and action tokens of the policy's passes), whichever is set.
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
        default=1.0, gt=0, description="largest gradient norm, of the model and of its heads each by itself"
    )
    precision: Literal["bf16", "fp32"] = "bf16"
    lora_rank: int = Field(default=0, ge=0, description="0 trains all weights")
    lora_alpha: float = Field(default=32.0, gt=0)
    top_layers: int | None = Field(
        default=None, gt=0, description="train the last N layers alone, or adapt them alone; null trains all weights"
    )
    checkpointing: bool = Field(default=False, description="recompute activations to save memory")
    save_every: int = Field(default=20, gt=0, description="updates between resumable checkpoints")
    max_tokens: int = Field(default=4096, gt=0, description="longest episode; a longer one is an error")
    head_lr: float = Field(default=1e-3, gt=0, description="learning rate of value and Q heads, where there are any")

    def summary(self) -> str:
        """Budget, batch, precision."""
        budget = f"{self.updates} updates" if self.updates else f"{self.tokens} tokens"
        return f"{budget} of {self.batch_episodes} episodes in {self.precision}"


class EvalConfig(Section):
    """Evaluation: what is asked, how it is sampled, and where an episode must stop.

    All limits are in steps and tokens, so that they reproduce.
    """

    split: Literal["train", "validation", "test"] = "test"
    engine: str = "vllm"
    precision: Literal["bf16", "fp32"] = "bf16"
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
        """Split and precision."""
        return f"on {self.split} in {self.precision}"


class StartConfig(Section):
    """Another cell that is trained first and then serves as model and reference.

    Attributes:
        algorithm: Its algorithm, or ``none`` to start from the model itself.
        seed: Its seed, shared by every cell that starts from it.
        algo: Overrides of its algorithm's configuration.
        task: Overrides of the task's configuration while it trains.
        train: Overrides of the training configuration.
    """

    algorithm: str = "none"
    seed: int = 0
    algo: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
