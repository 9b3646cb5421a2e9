"""Families become cells with digests, and what is there of each.

A family is planned once, as ``shiqbench run`` plans; its other seeds differ in one number of the recipe, so their
digests come from the family's canonical text with that number replaced. Planning 100,000 cells takes seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, short
from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.matrix.job import Job
from shiqbench.planning.make import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from shiqbench.matrix.families import Family
    from shiqbench.planning.plan import RunPlan

SEED = 918_273_645_546_372_819  # stands for a seed in a family's text; no seed of a user's
DIGEST = "digest-of-the-cell"


class State(StrEnum):
    """How far a cell is, by what lies in its folder; running it looks closer."""

    DONE = "done"  # trained and evaluated: both DONE files are there
    PARTIAL = "partial"  # something is there
    MISSING = "missing"  # nothing is there


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix.

    Attributes:
        job: For an executor.
        seed: Of training; None where nothing is trained.
        digest: Its train digest.
        folder: Where it lives.
        evaluation: Folder of its own evaluation.
    """

    job: Job
    seed: int | None
    digest: str
    folder: Path
    evaluation: Path

    def state(self) -> State:
        """By what is in the folder."""
        trained, evaluated = ((f / "DONE").is_file() for f in (self.folder, self.evaluation))
        if trained and evaluated:
            return State.DONE
        return State.PARTIAL if self.folder.is_dir() else State.MISSING


@dataclass(frozen=True)
class PlannedFamily:
    """A family with the plan of its first seed.

    Attributes:
        family: What was asked.
        plan: Of the first seed.
    """

    family: Family
    plan: RunPlan

    def cells(self) -> Iterator[Cell]:
        """One per seed."""
        cell, trains = self.plan.cell, self.plan.cell.train is not None
        recipe = canonical_json({**cell.recipe, "seed": SEED if trains else None})
        evaluation = canonical_json({**self.plan.eval_recipe(cell), "train": DIGEST})
        beside = cell.results / cell.task.name / cell.algorithm.name
        for seed in self.family.seeds:
            whole = _sha256(recipe.replace(str(SEED), str(seed)))
            folder = beside / short(whole)
            name = self.family.name + (f" seed {seed}" if trains else "")
            job = Job(name, replace(self.family.request, seed=seed), self.family.resources, self.plan)
            evaluated = folder / "eval" / short(_sha256(evaluation.replace(DIGEST, whole)))
            yield Cell(job, seed if trains else None, whole, folder, evaluated)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def plan_families(
    families: Sequence[Family], results: Path, plugins: tuple[Path, ...], where: str
) -> list[PlannedFamily]:
    """Plan every family.

    Raises:
        ConfigListError: Some cannot be planned, or two are the same; every cause once, with the key it comes from.
    """
    planned: list[PlannedFamily] = []
    wrong: dict[str, list[str]] = {}
    causes: dict[str, ConfigError] = {}
    seen: dict[str, str] = {}
    for family in families:
        request = replace(family.request, seed=family.seeds[0], results=results, plugins=plugins)
        try:
            plan = make_plan(request)
        except ConfigError as error:
            line = error.line()
            causes[line] = ConfigError(
                error.what, where=" ".join(filter(None, (where, _origin(family, line)))), do=error.do
            )
            wrong.setdefault(line, []).append(family.name)
            continue
        found = PlannedFamily(replace(family, request=request), plan)
        planned.append(found)
        for cell in found.cells():
            if cell.digest in seen:
                line = f"{cell.job.name} and {seen[cell.digest]} are the same cell"
                causes[line] = ConfigError(line, where=where, do="leave one of them out")
                wrong.setdefault(line, [])
            seen[cell.digest] = cell.job.name
    if causes:
        raise ConfigListError([_with_names(causes[line], names) for line, names in wrong.items()])
    return planned


def _origin(family: Family, line: str) -> str:
    """Where in the file the setting is that an error names."""
    return next((origin for key, origin in family.origins.items() if key in line), "")


def _with_names(error: ConfigError, names: list[str]) -> ConfigError:
    if not names:
        return error
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return ConfigError(f"{names[0]}{more}: {error.what}", where=error.where, do=error.do)


def reads(plan: Any) -> str:
    """What a cell's reference statistics are of, so that cells with the same text share them."""
    recipe = plan.cell.recipe
    return canonical_json({"model": recipe["model"], "task": recipe["task"]["name"], "data": recipe["task"]["data"]})
