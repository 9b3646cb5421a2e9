"""The keys of a matrix file."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from shiqbench.plugin.config import Section

Settings = dict[str, Any]
Grid = dict[str, list[Any]]


def dotted(values: Settings, prefix: str = "") -> Settings:
    """``{"train": {"lr": 1}}`` to ``{"train.lr": 1}``; keys that are dotted already stay."""
    found: Settings = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        # Two levels name a setting (section.key); what is below is the setting's own value.
        if isinstance(value, dict) and name.count(".") < 1:
            found |= dotted(value, name)
        else:
            found[name] = value
    return found


class Axes(Section):
    """``[matrix]``: what is crossed with what."""

    algorithms: list[str] = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    models: list[str] = Field(default_factory=list, description="empty takes each preset's")
    seeds: list[int] = Field(default=[0], min_length=1, description="of training")
    preset: str = "cpu"
    results: str = Field(default="results", description="relative to where the command is typed")
    plugins: list[str] = Field(default_factory=list, description="plugin files, relative to the matrix file")
    also: list[str] = Field(default_factory=list, description="as --also")
    engine: str | None = Field(default=None, description="as --engine")
    repeats: int | None = Field(default=None, gt=0, description="as --repeats")
    eval_every: int | None = Field(default=None, gt=0, description="as --eval-every, where something is trained")

    @field_validator("algorithms", "tasks", "models", "seeds")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if twice := [v for v in values if values.count(v) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        return values


class Budget(Section):
    """``[budget]``: equal for every cell that trains."""

    updates: int | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Budget:
        if self.updates is not None and self.tokens is not None:
            raise ValueError("updates and tokens exclude each other")
        return self

    def settings(self) -> Settings:
        """As settings."""
        if self.tokens is not None:
            return {"train.updates": None, "train.tokens": self.tokens}
        return {} if self.updates is None else {"train.updates": self.updates}


class Needs(Section):
    """``[resources]``: of each cell."""

    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    memory_gb: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)


class OfAlgorithm(Section):
    """``[algorithms.NAME]``."""

    set: Settings = Field(default_factory=dict)
    sweep: Grid = Field(default_factory=dict)
    tuning: Grid = Field(default_factory=dict, description="grid of this algorithm's trials")
    resources: Needs = Needs()


class OfTask(Section):
    """``[tasks.NAME]``."""

    set: Settings = Field(default_factory=dict)
    sweep: Grid = Field(default_factory=dict)
    preset: str | None = None
    algorithms: list[str] | None = Field(default=None, description="of those in [matrix], these alone")
    seeds: list[int] | None = Field(default=None, description="in place of those in [matrix]")
    budget: Budget = Budget()
    also: list[str] | None = None
    resources: Needs = Needs()


class Pattern(Section):
    """Which cells: every key that is given must match."""

    algorithm: str | None = None
    task: str | None = None
    model: str | None = None
    seed: int | None = None
    set: Settings = Field(default_factory=dict)


class Override(Pattern):
    """``[[override]]``: settings for the cells that match; ``set`` is what they get."""


class Tuning(Section):
    """``[tuning]``: trials on validation, the best of which is run with every seed."""

    trials: int = Field(gt=0, description="per algorithm, task and model")
    seed: int = Field(default=0, description="of the draw, and of the trials' training")
    grid: Grid = Field(default_factory=dict, description="for every algorithm that trains")


class MatrixFile(Section):
    """A whole file."""

    matrix: Axes
    set: Settings = Field(default_factory=dict)
    start: Settings = Field(default_factory=dict, description="start.* of every cell that trains a language model")
    budget: Budget = Budget()
    sweep: Grid = Field(default_factory=dict)
    algorithms: dict[str, OfAlgorithm] = Field(default_factory=dict)
    tasks: dict[str, OfTask] = Field(default_factory=dict)
    override: list[Override] = Field(default_factory=list)
    exclude: list[Pattern] = Field(default_factory=list)
    include: list[Pattern] = Field(default_factory=list)
    tuning: Tuning | None = None
    resources: Needs = Needs()
