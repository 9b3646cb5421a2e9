"""Settings of the built-in reward models; this module imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.plugin.config import PRECISION, Precision, RewardConfig


class EncoderConfig(RewardConfig):
    """How a language model reads conversations."""

    place_fields: ClassVar[tuple[str, ...]] = ("model",)
    precision: Precision = Field(default="fp32", description=PRECISION)
    batch_tokens: int = Field(default=2048, gt=0, description="tokens of a forward pass, including padding")


class ClassifierConfig(EncoderConfig):
    """Settings of a sequence classifier."""

    model: str = Field(default="", description="folder or hub name of a sequence classifier with one output")


class PairsConfig(EncoderConfig):
    """Settings of a reward model that is trained on pairs."""

    model: str = Field(default=EMBEDDED_MODEL, description="folder or hub name of a causal language model")
    pairs: int | None = Field(default=400, gt=0, description="only the first N training pairs; null takes all")


class BradleyTerryConfig(PairsConfig):
    """Settings of the linear head; the defaults are our own choice."""

    precision: Precision = Field(default="auto", description=PRECISION)  # type: ignore[arg-type]
    layer: int | None = Field(default=10, gt=0, description="features are taken after this layer; null is the last")
    l2: float = Field(default=1000.0, gt=0, description="penalty on the weights of standardised features")


class BradleyTerryFullConfig(PairsConfig):
    """Settings of the whole backbone; the defaults are our own choice."""

    pairs: int | None = Field(default=None, gt=0, description="only the first N training pairs; null takes all")
    lr: float = Field(default=1e-5, gt=0)
    epochs: int = Field(default=1, gt=0, description="passes over the pairs")
    batch_pairs: int = Field(default=8, gt=0, description="pairs per update")
    seed: int = Field(default=0, description="seed of the new head and of the order of pairs")
