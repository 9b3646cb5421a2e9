"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from shiqbench.config import TaskConfig
from shiqbench_tasks.bfcl_v3.versions import Category  # noqa: TC001 - pydantic reads it


class BfclConfig(TaskConfig):
    """What is asked of the model, which episodes it learns from, and how they are rewarded."""

    setting_fields: ClassVar[tuple[str, ...]] = ("data_version", "categories", "prompt", "primary")

    data_version: Literal["v3", "v4"] = Field(default="v3", description="bfcl-eval 2025.7.17 or 2026.3.23")
    categories: tuple[Category, ...] = Field(
        default=("base",), min_length=1, description="base, miss_func, miss_param, long_context; one split for all"
    )
    prompt: Literal["reduced"] = Field(
        default="reduced", description="one line per tool; the official prompt averages 38,000 characters"
    )
    primary: Literal["turn_accuracy", "valid"] = Field(
        default="turn_accuracy", description="headline metric: share of right turns, or of valid episodes"
    )
    reward: Literal["episode", "turn"] = Field(
        default="turn", description="1 for a valid episode at its end, or 1/turns for each right turn"
    )
    centre: Literal["none", "dataset", "group"] = Field(
        default="none", description="subtract the mean return of the data set, or of the scenario"
    )
    behaviours: tuple[Literal["ground_truth", "perturbed"], ...] = Field(
        default=("ground_truth", "perturbed"), min_length=1, description="offline episodes to learn from"
    )
    perturbations: int = Field(default=3, ge=1, description="perturbed episodes per scenario")
    data_seed: int = Field(default=0, description="chooses the perturbations")
    scenarios: int | None = Field(default=None, gt=0, description="only the first N training scenarios")

    @model_validator(mode="after")
    def _no_repeats(self) -> BfclConfig:
        for name in ("categories", "behaviours"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one value twice")
        return self

    def reduced(self) -> bool:
        """The only prompt at present is the reduced one."""
        return self.prompt == "reduced"
