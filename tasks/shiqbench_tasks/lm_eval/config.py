"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from shiqbench.plugin import EvalConfig, TaskConfig


class LmEvalConfig(TaskConfig):
    """Which suites of lm-eval are asked, and how."""

    setting_fields: ClassVar[tuple[str, ...]] = ("suites", "num_fewshot", "apply_chat_template")
    place_fields: ClassVar[tuple[str, ...]] = ("task_path",)

    suites: tuple[str, ...] = Field(
        default=("ifeval",), min_length=1, description="tasks, groups or tags of lm-eval; the first is the primary"
    )
    num_fewshot: int | None = Field(default=None, ge=0, description="worked examples; null is the suite's own number")
    task_path: str | None = Field(default=None, description="folder with your own suites and their data")
    apply_chat_template: bool = Field(default=True, description="the model's chat format; false is plain text")

    @field_validator("suites")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("suites names one twice")
        return value


class LmEvalEvalConfig(EvalConfig):
    """Evaluation; what a suite states itself (how to sample, when to stop) stays as it states it."""

    examples: int | None = Field(default=None, gt=0, description="only the first N examples of each suite")
    temperature: float = Field(default=0.0, ge=0, le=0, description="fixed: each suite states its own sampling")
    top_p: float = Field(default=1.0, ge=1, le=1, description="fixed: each suite states its own sampling")
    max_tokens: int = Field(default=2048, gt=0, description="tokens per answer; a suite's own lower limit holds")
