"""Tuning: every algorithm gets the same number of trials on validation; the best one runs with every seed.

A task names the settings of its validation (``TaskConfig.validation``).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.base.files import read_json
from shiqbench.matrices.families import Choice
from shiqbench.store.tuned import write_tuned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.matrices.cells import PlannedFamily
    from shiqbench.matrices.families import Combination, Expansion, Family
    from shiqbench.matrices.schema import Settings
    from shiqbench.plugin.specs import TaskSpec


@dataclass(frozen=True)
class Trials:
    """The trials of one algorithm on one task and model, under one choice of the task's settings that are swept.

    Attributes:
        of: What they choose settings for.
        under: The task's settings that are swept.
        settings: Settings of each trial.
        families: Family of each trial, in the same order.
    """

    of: Choice
    under: Settings
    settings: tuple[Settings, ...]
    families: tuple[Family, ...]


def trials(expansion: Expansion) -> tuple[list[Trials], list[str]]:
    """Return the trials of every combination that has a grid, for each choice of the task's settings that are swept.

    Returns:
        The trials, and the algorithms that train but have no grid: they run with their defaults, not tuned.

    Raises:
        ConfigListError: A grid has fewer combinations than there are trials, or a setting that tuning cannot choose.
    """
    tuning = expansion.file.tuning
    if tuning is None:
        return [], []
    found: list[Trials] = []
    untuned: set[str] = set()
    wrong: list[ConfigError] = []
    for combination in expansion.combinations():
        algorithm, task, _ = combination
        if not expansion.found.algorithm(algorithm).trains:
            continue
        if lacking := _lacks(expansion.found.task(task)):
            wrong.append(
                ConfigError(
                    f"{task} has no validation to tune on: its evaluation has no setting {lacking}",
                    where=expansion.where,
                    do=f"run {task} in a matrix without [tuning], or name other examples in its TaskConfig.validation",
                )
            )
            continue
        of_algorithm = expansion.file.algorithms.get(algorithm)
        grid = {**tuning.grid, **(of_algorithm.tuning if of_algorithm else {})}
        if not grid:
            untuned.add(algorithm)
            continue
        under = expansion.swept_task_settings(combination)
        wrong += _cannot_choose(expansion, combination, {*grid}, {k for each in under for k in each})
        combinations = prod(len(values) for values in grid.values())
        if combinations < tuning.trials:
            wrong.append(
                ConfigError(
                    f"the grid of {algorithm} has {combinations} combinations, tuning.trials is {tuning.trials}",
                    where=expansion.where,
                    do=f"add values to [algorithms.{algorithm}.tuning], or lower tuning.trials",
                )
            )
            continue
        every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        drawn = random.Random(f"{tuning.seed} {algorithm}").sample(every, tuning.trials)
        for each in under:
            families = [_trial(expansion, combination, each, settings) for settings in drawn]
            found.append(Trials(Choice.of(combination, each), each, tuple(drawn), tuple(families)))
    if wrong:
        raise ConfigListError(list({e.line(): e for e in wrong}.values()))
    return found, sorted(untuned)


def _lacks(task: TaskSpec) -> str:
    """The setting of the task's validation that its evaluation does not have; empty if it has all."""
    evaluation = task.load_sections()[1].model_fields
    names = (k for k in task.load_config().validation if k.startswith("eval."))
    return next((k for k in names if k.partition(".")[2] not in evaluation), "")


def _cannot_choose(
    expansion: Expansion, combination: Combination, grid: set[str], under: set[str]
) -> list[ConfigError]:
    """What is swept and tuned at once, or set by the validation on which trials are compared."""
    algorithm, task, _ = combination
    validation = expansion.found.task(task).load_config().validation
    found = [
        ConfigError(f"{key} is both swept and tuned for {algorithm}", where=expansion.where, do="remove one of them")
        for key in sorted(grid & expansion.swept_keys(combination))
    ]
    return found + [
        ConfigError(
            f"{key} cannot be {'tuned' if key in grid else 'swept under [tuning]'}: every trial on {task} has {key} = "
            f"{validation[key]!r}",
            where=expansion.where,
            do="leave it out",
        )
        for key in sorted((grid | under) & set(validation))
    ]


def _trial(expansion: Expansion, combination: Combination, under: Settings, settings: Settings) -> Family:
    assert expansion.file.tuning is not None
    chosen = {**under, **settings, **expansion.found.task(combination[1]).load_config().validation}
    family = expansion.family(*combination, chosen, (*under, *settings))[0]
    request = replace(family.request, also=(), eval_every=None, keep=None)
    return replace(family, request=request, seeds=(expansion.file.tuning.seed,))


def choose(found: Sequence[Trials], planned: Sequence[PlannedFamily], results: Path) -> dict[Choice, Settings]:
    """Choose the best trial of each choice by the task's primary metric; write it down with all trials.

    Args:
        found: The trials.
        planned: Planned families of the trials, in the same order.
        results: Results folder; the choice is written to ``tuned/`` in it.
    """
    chosen: dict[Choice, Settings] = {}
    rest = iter(planned)
    for each in found:
        ran: list[dict[str, Any]] = []
        for settings in each.settings:
            (cell,) = next(rest).cells()
            primary = read_json(cell.evaluation / "metrics.json")["primary"]
            ran.append({"settings": settings, "cell": cell.digest, "primary": primary})
        best = max(ran, key=lambda r: r["primary"]["value"] * (1 if r["primary"]["higher_is_better"] else -1))
        chosen[each.of] = best["settings"]
        write_tuned(results, each.of[:3], ran, best["settings"], each.under)
    return chosen
