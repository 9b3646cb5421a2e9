"""Makes validated sections from presets and ``--set``. Values are validated once, here; wrong names get suggestions."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.plugin.config import ModelConfig, StartConfig, TaskConfig, TrainConfig
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from shiqbench.plugin.specs import AlgorithmSpec, TaskSpec

SECTIONS = ("algo", "task", "train", "eval", "start", "also", "model", "engine")
CHOSEN_WITH = "chosen_with."  # keys of a preset that are no settings: how many were tried before its values were chosen
Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Sections:
    """The validated sections of a cell.

    Attributes:
        values: The values before validation, by section.
        algo: The algorithm's hyper-parameters.
        task: The task's configuration.
        train: Training section, of the class that the task's spec names.
        evaluation: Evaluation section, of the class that the task's spec names.
        start: The cell that training starts from.
        model: How the model is used.
    """

    values: Values
    algo: BaseModel
    task: TaskConfig
    train: Any
    evaluation: Any
    start: StartConfig
    model: ModelConfig


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings under their full names: ``start`` is short for ``start.algorithm``.

    Raises:
        ConfigError: A key is not of the form ``section.key``.
    """
    for key in settings:
        section, dot, _ = key.partition(".")
        if section not in SECTIONS or (not dot and key != "start"):
            raise ConfigError(
                f"unknown setting {key!r}{did_you_mean(section, SECTIONS)}",
                where="--set",
                do=f"sections are {', '.join(SECTIONS)}, as in --set algo.beta=0.05",
            )
    return {"start.algorithm" if key == "start" else key: value for key, value in settings.items()}


def chosen_with(task: TaskSpec, preset: str, name: str) -> int | None:
    """Return how many settings a preset's values for an algorithm (or ``start``) were chosen from; None if unknown."""
    counts = {k: int(v) for k, v in task.presets[preset].items() if k.startswith(CHOSEN_WITH)}
    return counts.get(CHOSEN_WITH + name, 0) if counts else None


def preset_values(task: TaskSpec, preset: str, algorithm: str) -> dict[str, Any]:
    """Return a preset's dotted keys for one algorithm; ``"name:key"`` applies only to that algorithm.

    Raises:
        ConfigError: The task has no such preset.
    """
    if preset not in task.presets:
        raise ConfigError(
            f"task {task.name} has no preset {preset!r}{did_you_mean(preset, task.presets)}",
            where="--preset",
            do=f"choose from {', '.join(task.presets)}",
        )
    values = {k: v for k, v in task.presets[preset].items() if k != "model" and not k.startswith(CHOSEN_WITH)}
    general = {k: v for k, v in values.items() if ":" not in k}
    special = {k.partition(":")[2]: v for k, v in values.items() if k.partition(":")[0] == algorithm and ":" in k}
    return {**general, **special}


def nest(dotted: Mapping[str, Any]) -> Values:
    """Turn ``{"start.train.lr": 1}`` into ``{"start": {"train": {"lr": 1}}}``."""
    nested: Values = {section: {} for section in SECTIONS}
    for key, value in dotted.items():
        at: dict[str, Any] = nested
        *path, last = key.split(".")
        for name in path:
            at = at.setdefault(name, {})
            if not isinstance(at, dict):
                raise ConfigError(f"a part of {key!r} is a plain value", where="--set", do="shorten the key")
        at[last] = {**at.get(last, {}), **deepcopy(value)} if isinstance(value, dict) else value
    return nested


def start_values(task_values: Mapping[str, Any], setting: Sequence[str], start: StartConfig) -> dict[str, Any]:
    """Return the task values of the start: the start shares the cell's setting, and has its own other values."""
    return {**{k: v for k, v in task_values.items() if k in setting}, **start.task}


def task_values(
    task: TaskSpec, values: Mapping[str, Any], evaluation: Mapping[str, Any], section: str
) -> dict[str, Any]:
    """Return task values, together with those that the task takes from the preset's evaluation.

    Raises:
        ConfigError: As in :func:`validate`.
    """
    config: TaskConfig = validate(task.load_config(), values, section)
    return {**values, **config.defaults_from(validate(task.load_sections()[1], evaluation, "eval"))}


def sections(algorithm: AlgorithmSpec, task: TaskSpec, preset: str, typed: Mapping[str, Any]) -> Sections:
    """Merge preset and typed values and validate every section.

    Raises:
        ConfigError: As in :func:`validate`, or this algorithm does not use a setting.
    """
    typed = named(typed)
    if not algorithm.trains:
        for key in typed:
            if key.split(".")[0] in ("train", "start", "algo"):
                raise ConfigError(
                    f"{key} cannot be honoured: {algorithm.name} trains nothing",
                    where="--set",
                    do="leave it out",
                )
    of_preset = preset_values(task, preset, algorithm.name)
    merged = nest({**of_preset, **typed})
    merged["task"] = task_values(task, merged["task"], nest(of_preset)["eval"], "task")
    if typed.get("train.tokens") is not None and "train.updates" not in typed:
        merged["train"]["updates"] = None
    train_class, eval_class = task.load_sections()
    found = Sections(
        merged,
        algo=validate(algorithm.load_config(), merged["algo"], "algo"),
        task=validate(task.load_config(), merged["task"], "task"),
        train=validate(train_class, merged["train"], "train"),
        evaluation=validate(eval_class, merged["eval"], "eval"),
        start=validate(StartConfig, merged["start"], "start"),
        model=validate(ModelConfig, merged["model"], "model"),
    )
    train, start = found.train, found.start
    if isinstance(train, TrainConfig) and (train.updates is None) == (train.tokens is None):
        raise ConfigError(
            f"train.updates is {train.updates} and train.tokens is {train.tokens}",
            where="--set",
            do="set one of them, and the other to null",
        )
    of_model = {
        f"start.algorithm = {start.algorithm}": start.algorithm != "none",
        "model.template": found.model.template,
    }
    for name, given in of_model.items():
        if task.own_policy and given:
            raise ConfigError(
                f"{name} cannot be honoured: {task.name} brings its own policy", where="--set", do="leave it out"
            )
    validate(TrainConfig, start.train, "start.train")
    ignored = [k for k in typed if k.startswith("start.") and k != "start.algorithm"]
    if start.algorithm == "none" and ignored:
        raise ConfigError(
            f"{ignored[0]} cannot be honoured: there is no start", where="--set", do="set start.algorithm too"
        )
    return found
