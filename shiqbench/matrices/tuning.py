"""Tuning: every algorithm gets the same number of trials on validation; the best one runs with every seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.base.files import read_json
from shiqbench.store.tuned import write_tuned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.matrices.cells import PlannedFamily
    from shiqbench.matrices.families import Combination, Expansion, Family
    from shiqbench.matrices.schema import Settings


@dataclass(frozen=True)
class Trials:
    """The trials of one algorithm on one task and model.

    Attributes:
        of: Algorithm, task and model.
        settings: Settings of each trial.
        families: Family of each trial, in the same order.
    """

    of: Combination
    settings: tuple[Settings, ...]
    families: tuple[Family, ...]


def trials(expansion: Expansion) -> tuple[list[Trials], list[str]]:
    """Return the trials of every combination that has a grid.

    Returns:
        The trials, and the algorithms that train but have no grid: they run with their defaults, not tuned.

    Raises:
        ConfigListError: A grid has fewer combinations than there are trials.
    """
    tuning = expansion.file.tuning
    if tuning is None:
        return [], []
    found: list[Trials] = []
    untuned: set[str] = set()
    wrong: list[ConfigError] = []
    for algorithm, task, model in expansion.combinations():
        if not expansion.found.algorithm(algorithm).trains:
            continue
        of_algorithm = expansion.file.algorithms.get(algorithm)
        grid = {**tuning.grid, **(of_algorithm.tuning if of_algorithm else {})}
        if not grid:
            untuned.add(algorithm)
            continue
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
        families = [_trial(expansion, algorithm, task, model, settings) for settings in drawn]
        found.append(Trials((algorithm, task, model), tuple(drawn), tuple(families)))
    if wrong:
        raise ConfigListError(list({e.line(): e for e in wrong}.values()))
    return found, sorted(untuned)


def _trial(expansion: Expansion, algorithm: str, task: str, model: str | None, settings: Settings) -> Family:
    assert expansion.file.tuning is not None
    chosen = {**settings, "eval.split": "validation"}
    family = expansion.family(algorithm, task, model, chosen, tuple(settings))[0]
    request = replace(family.request, also=(), eval_every=None)
    return replace(family, request=request, seeds=(expansion.file.tuning.seed,))


def choose(found: Sequence[Trials], planned: Sequence[PlannedFamily], results: Path) -> dict[Combination, Settings]:
    """Choose the best trial of each combination by the task's primary metric; write it down with all trials.

    Args:
        found: The trials.
        planned: Planned families of the trials, in the same order.
        results: Results folder; the choice is written to ``tuned/`` in it.
    """
    chosen: dict[Combination, Settings] = {}
    rest = iter(planned)
    for each in found:
        ran: list[dict[str, Any]] = []
        for settings in each.settings:
            (cell,) = next(rest).cells()
            primary = read_json(cell.evaluation / "metrics.json")["primary"]
            ran.append({"settings": settings, "cell": cell.digest, "primary": primary})
        best = max(ran, key=lambda r: r["primary"]["value"] * (1 if r["primary"]["higher_is_better"] else -1))
        chosen[each.of] = best["settings"]
        write_tuned(results, each.of, ran, best["settings"])
    return chosen
