"""From what the user typed to validated sections: presets, ``--set``, did-you-mean. Validates once, here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.plugin.config import Section, StartConfig, TaskConfig, TrainConfig
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from shiqbench.plugin.specs import AlgorithmSpec, TaskSpec

SECTIONS = ("algo", "task", "train", "eval", "start", "also")
Values = dict[str, dict[str, Any]]


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["algo.beta=0.05"]`` to ``{"algo.beta": 0.05}``; values are JSON, or else plain text.

    Raises:
        ConfigError: Not of the form ``section.key=value``.
    """
    found = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        section, dot, _ = key.partition(".")
        if not equals:
            raise ConfigError(f"{text!r} assigns nothing", where="--set", do="write --set section.key=value")
        if section not in SECTIONS or (not dot and key != "start"):
            raise ConfigError(
                f"unknown setting {key!r}{did_you_mean(section, SECTIONS)}",
                where="--set",
                do=f"sections are {', '.join(SECTIONS)}, as in --set algo.beta=0.05",
            )
        try:
            found["start.algorithm" if key == "start" else key] = json.loads(value)
        except ValueError:
            found["start.algorithm" if key == "start" else key] = value
    return found


def preset_values(task: TaskSpec, preset: str, algorithm: str) -> dict[str, Any]:
    """A preset's dotted keys for one algorithm; ``"name:key"`` applies to that algorithm alone.

    Raises:
        ConfigError: The task has no such preset.
    """
    if preset not in task.presets:
        raise ConfigError(
            f"task {task.name} has no preset {preset!r}{did_you_mean(preset, task.presets)}",
            where="--preset",
            do=f"choose from {', '.join(task.presets)}",
        )
    general = {k: v for k, v in task.presets[preset].items() if ":" not in k}
    special = {
        k.partition(":")[2]: v for k, v in task.presets[preset].items() if k.partition(":")[0] == algorithm and ":" in k
    }
    return {**general, **special}


def nest(dotted: Mapping[str, Any]) -> Values:
    """``{"start.train.lr": 1}`` to ``{"start": {"train": {"lr": 1}}}``."""
    nested: Values = {section: {} for section in SECTIONS}
    for key, value in dotted.items():
        at: dict[str, Any] = nested
        *path, last = key.split(".")
        for name in path:
            at = at.setdefault(name, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{key!r} goes into a value", where="--set", do="shorten the key")
        at[last] = {**at.get(last, {}), **value} if isinstance(value, dict) else value
    return nested


def start_values(task_values: Mapping[str, Any], setting: Sequence[str], start: StartConfig) -> dict[str, Any]:
    """Task values of the start: the setting is shared with the cell, everything else is its own."""
    return {**{k: v for k, v in task_values.items() if k in setting}, **start.task}


def task_values(
    task: TaskSpec, values: Mapping[str, Any], evaluation: Mapping[str, Any], section: str
) -> dict[str, Any]:
    """Task values, and with them those that the task takes from how the preset evaluates.

    Raises:
        ConfigError: As in :func:`validate`.
    """
    config: TaskConfig = validate(task.load_config(), values, section)
    return {**values, **config.defaults_from(validate(task.load_sections()[1], evaluation, "eval"))}


def sections(
    algorithm: AlgorithmSpec, task: TaskSpec, preset: str, typed: Mapping[str, Any]
) -> tuple[Values, BaseModel, BaseModel, Section, Section, StartConfig]:
    """Merge preset and typed values and validate every section.

    Returns:
        The merged values, then the algorithm's, task's, training, evaluation and start sections.

    Raises:
        ConfigError: As in :func:`validate`, or a setting that this algorithm cannot honour.
    """
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
    algo = validate(algorithm.load_config(), merged["algo"], "algo")
    task_config = validate(task.load_config(), merged["task"], "task")
    train_class: type[Section]
    eval_class: type[Section]
    train_class, eval_class = task.load_sections()
    train = validate(train_class, merged["train"], "train")
    if isinstance(train, TrainConfig) and (train.updates is None) == (train.tokens is None):
        raise ConfigError(
            f"train.updates is {train.updates} and train.tokens is {train.tokens}",
            where="--set",
            do="set one of them; the other is null",
        )
    evaluation = validate(eval_class, merged["eval"], "eval")
    start = validate(StartConfig, merged["start"], "start")
    if task.own_policy and start.algorithm != "none":
        raise ConfigError(
            f"start.algorithm = {start.algorithm} cannot be honoured: {task.name} brings its own policy",
            where="--set",
            do="leave it out",
        )
    validate(TrainConfig, start.train, "start.train")
    ignored = [k for k in typed if k.startswith("start.") and k != "start.algorithm"]
    if start.algorithm == "none" and ignored:
        raise ConfigError(
            f"{ignored[0]} cannot be honoured: there is no start", where="--set", do="set start.algorithm too"
        )
    return merged, algo, task_config, train, evaluation, start
