"""The rule by which sft and kto decide which episodes are good."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shiqbench.plugin import AlgorithmConfig


class AcceptanceConfig(AlgorithmConfig):
    """The best episodes of each group are good, or those whose return exceeds ``threshold``."""

    accept: Literal["best", "threshold"] = Field(
        default="best",
        description="episodes that earn as much as the best of their group, so also a failure that is the only one; or "
        "all that earn more than threshold",
    )
    threshold: float = Field(default=0.0, description="of the return as it is trained on, after task.centre")

    @model_validator(mode="after")
    def _threshold_is_used(self) -> AcceptanceConfig:
        if self.accept == "best" and self.threshold:
            raise ValueError(f"threshold = {self.threshold:g} needs accept = threshold")
        return self
