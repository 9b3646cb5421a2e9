"""The keys of a matrix file."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from shiqbench.plugin.config import Section

Settings = dict[str, Any]
Grid = dict[str, list[Any]]
OWN_OPTIONS = {  # options of sbatch that a matrix file gives in another way, or that shiqbench needs for itself
    "cpus-per-task": "set resources.cpus",
    "gpus-per-node": "set resources.gpus",
    "mem": "set resources.memory_gb",
    "time": "set resources.minutes",
    "partition": "set resources.slurm.partition",
    "account": "set resources.slurm.account",
    "qos": "set resources.slurm.qos",
    "array": "leave it out, and limit the number of cells at once by --jobs",
    **dict.fromkeys(("nodes", "ntasks", "ntasks-per-node", "signal", "requeue", "no-requeue"), "leave it out"),
    **dict.fromkeys(("output", "error", "open-mode", "job-name", "chdir", "wrap"), "leave it out"),
}


def dotted(values: Settings, prefix: str = "") -> Settings:
    """Turn ``{"train": {"lr": 1}}`` into ``{"train.lr": 1}``; dotted keys stay as they are."""
    found: Settings = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        # Two levels name a setting (section.key); deeper levels are the value of the setting.
        if isinstance(value, dict) and name.count(".") < 1:
            found |= dotted(value, name)
        else:
            found[name] = value
    return found


class Axes(Section):
    """``[matrix]``: the axes, whose combinations are the cells."""

    algorithms: list[str] = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    models: list[str] = Field(default_factory=list, description="empty: the model of each preset")
    seeds: list[int] = Field(default=[0], min_length=1, description="training seeds")
    preset: str = "cpu"
    results: str = Field(default="results", description="relative to the current folder")
    plugins: list[str] = Field(default_factory=list, description="plugin files, relative to the matrix file")
    also: list[str] = Field(default_factory=list, description="like --also")
    engine: str | None = Field(default=None, description="like --engine")
    repeats: int | None = Field(default=None, gt=0, description="like --repeats")
    eval_every: int | None = Field(default=None, gt=0, description="like --eval-every, for cells that train")

    keep: str | None = Field(default=None, description="like --keep, for cells that train")
    track: str | None = Field(default=None, description="like --track")

    @field_validator("algorithms", "tasks", "models", "seeds")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if twice := [v for v in values if values.count(v) > 1]:
            raise ValueError(f"{twice[0]!r} appears twice")
        return values


class Budget(Section):
    """``[budget]``: the same for every cell that trains."""

    updates: int | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Budget:
        if self.updates is not None and self.tokens is not None:
            raise ValueError("updates and tokens exclude each other")
        return self

    def settings(self) -> Settings:
        """Return the budget as settings."""
        if self.tokens is not None:
            return {"train.updates": None, "train.tokens": self.tokens}
        return {} if self.updates is None else {"train.updates": self.updates}


class OfSlurm(Section):
    """``[resources.slurm]``: what only SLURM asks; other executors do not read it."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: list[str] | None = Field(default=None, description="shell commands before Python starts")
    options: dict[str, str | int | bool] = Field(default_factory=dict, description="further options of sbatch")

    @field_validator("options")
    @classmethod
    def _free(cls, values: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        named = {key.lstrip("-").replace("_", "-"): value for key, value in values.items()}
        if off := [key for key, value in named.items() if value is False]:
            raise ValueError(f"{off[0]} = false; leave it out")
        for key, instead in OWN_OPTIONS.items():
            if key in named:
                raise ValueError(f"shiqbench sets --{key} itself; {instead}")
        return named


class Needs(Section):
    """``[resources]``: the resources of each cell."""

    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    memory_gb: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    slurm: OfSlurm = OfSlurm()

    def over(self, base: dict[str, Any]) -> dict[str, Any]:
        """Return the values of ``base``, replaced by what this section says, key by key."""
        said = self.model_dump(exclude_none=True)
        slurm, before = said.pop("slurm"), base.get("slurm", {})
        options = {**before.get("options", {}), **slurm["options"]}
        return {**base, **said, "slurm": {**before, **slurm, "options": options}}


class OfAlgorithm(Section):
    """``[algorithms.NAME]``."""

    set: Settings = Field(default_factory=dict)
    sweep: Grid = Field(default_factory=dict)
    tuning: Grid = Field(default_factory=dict, description="grid for the trials of this algorithm")
    resources: Needs = Needs()


class OfTask(Section):
    """``[tasks.NAME]``."""

    set: Settings = Field(default_factory=dict)
    sweep: Grid = Field(default_factory=dict)
    preset: str | None = None
    algorithms: list[str] | None = Field(default=None, description="only these of the algorithms in [matrix]")
    seeds: list[int] | None = Field(default=None, description="replace the seeds in [matrix]")
    budget: Budget = Budget()
    also: list[str] | None = None
    resources: Needs = Needs()


class Pattern(Section):
    """Selects cells: every given key must match."""

    algorithm: str | None = None
    task: str | None = None
    model: str | None = None
    seed: int | None = None
    set: Settings = Field(default_factory=dict)


class Override(Pattern):
    """``[[override]]``: the cells that match get the settings in ``set``."""


class Tuning(Section):
    """``[tuning]``: trials on validation; the settings of the best trial run with every seed."""

    trials: int = Field(gt=0, description="per algorithm, task and model")
    seed: int = Field(default=0, description="seed of the draw, and training seed of the trials")
    grid: Grid = Field(default_factory=dict, description="for every algorithm that trains")


class MatrixFile(Section):
    """A whole matrix file."""

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
