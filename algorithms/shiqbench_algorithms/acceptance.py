"""The rule by which sft and kto decide which episodes are good."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shiqbench.plugin import AlgorithmConfig


class AcceptanceConfig(AlgorithmConfig):
    """The best episodes of each group are good, or those whose return exceeds ``threshold``."""

    accept: Literal["best", "threshold"] = "best"
    threshold: float = 0.0

    @model_validator(mode="after")
    def _threshold_is_used(self) -> AcceptanceConfig:
        if self.accept == "best" and self.threshold:
            raise ValueError(f"threshold = {self.threshold:g} needs accept = threshold")
        return self
