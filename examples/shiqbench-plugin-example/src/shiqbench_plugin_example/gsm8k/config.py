"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from shiqbench.plugin import TaskConfig

Recorded = Literal["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
RECORDED: tuple[Recorded, ...] = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


class Gsm8kConfig(TaskConfig):
    """Where the data are, and which of them are learned from."""

    setting_fields: ClassVar[tuple[str, ...]] = ("data", "instruction")
    place_fields: ClassVar[tuple[str, ...]] = ("data",)  # digests name the content, so a moved file is the same

    data: str = Field(default="", description="folder that holds example_model_solutions.jsonl")
    instruction: str = Field(
        default="Solve the problem step by step. End with a line that says A: and the number.",
        description="written before every problem",
    )
    behaviours: tuple[Recorded, ...] = Field(default=RECORDED, min_length=1, description="whose solutions")
    problems: int | None = Field(default=None, gt=0, description="only the first N problems to train on")
