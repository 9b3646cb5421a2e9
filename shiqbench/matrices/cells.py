"""Expand families into cells with digests, and read the state of each cell.

A family is planned once, in the same way as ``shiqbench run`` plans. Its other seeds differ in one number of the
recipe, so their digests come from the family's canonical text with that number replaced. Planning 100,000 cells takes
seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, short
from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.matrices.job import Job
from shiqbench.planning.make import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from shiqbench.matrices.families import Family
    from shiqbench.planning.plan import Request, RunPlan

SEED = 918_273_645_546_372_819  # placeholder for the seed in a family's text; no user chooses this seed
DIGEST = "digest-of-the-cell"


class State(StrEnum):
    """Progress of a cell, judged by the files in its folder; a run checks more."""

    DONE = "done"  # trained and evaluated: both DONE files are there
    PARTIAL = "partial"  # the folder exists, but not both DONE files
    MISSING = "missing"  # there is no folder


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix.

    Attributes:
        job: The job that an executor runs.
        seed: Training seed; None if nothing is trained.
        digest: Train digest.
        folder: Cell folder.
        evaluation: Folder of the cell's own evaluation.
    """

    job: Job
    seed: int | None
    digest: str
    folder: Path
    evaluation: Path

    def state(self) -> State:
        """Derive the state from the files in the folder."""
        trained, evaluated = ((f / "DONE").is_file() for f in (self.folder, self.evaluation))
        if trained and evaluated:
            return State.DONE
        return State.PARTIAL if self.folder.is_dir() else State.MISSING


@dataclass(frozen=True)
class PlannedFamily:
    """A family with the plan of its first seed.

    Attributes:
        family: The family.
        plan: Plan of the first seed.
    """

    family: Family
    plan: RunPlan

    def cells(self) -> Iterator[Cell]:
        """Return one cell per seed."""
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
        ConfigListError: A family cannot be planned, or two cells are the same. Lists every cause once, with its key.
    """
    planned: list[PlannedFamily] = []
    wrong: dict[str, list[str]] = {}
    causes: dict[str, ConfigError] = {}
    seen: dict[str, str] = {}
    for family in families:
        request = replace(family.request, seed=family.seeds[0], results=results, plugins=plugins)
        plan, errors = _planned(request)
        for error in errors:
            line = error.line()
            causes[line] = ConfigError(
                error.what, where=" ".join(filter(None, (where, _origin(family, line)))), do=error.do
            )
            wrong.setdefault(line, []).append(family.name)
        if plan is None:
            continue
        found = PlannedFamily(replace(family, request=request), plan)
        planned.append(found)
        for cell in found.cells():
            if cell.digest in seen:
                line = f"{cell.job.name} and {seen[cell.digest]} are the same cell"
                causes[line] = ConfigError(line, where=where, do="remove one of them")
                wrong.setdefault(line, [])
            seen[cell.digest] = cell.job.name
    if causes:
        raise ConfigListError([_with_names(causes[line], names) for line, names in wrong.items()])
    return planned


def _planned(request: Request) -> tuple[RunPlan | None, list[ConfigError]]:
    """Plan a request, or return every setting that is wrong: one is left out after the other."""
    found: list[ConfigError] = []
    while True:
        try:
            plan = make_plan(request)
        except ConfigError as error:
            line = error.line()
            named = [key for key in request.settings if key in line]
            if named or not found:  # without a name, it may follow from what was left out
                found.append(error)
            if not named:
                return None, found
            wrong = min(named, key=lambda key: (line.index(key), -len(key)))
            request = replace(request, settings={k: v for k, v in request.settings.items() if k != wrong})
            continue
        try:
            plan.cell.recipe  # noqa: B018 - looks at the data
        except ConfigError as error:
            return None, [*found, error]
        return (None if found else plan), found


def _origin(family: Family, line: str) -> str:
    """Return the place in the file of the setting that an error names."""
    return next((origin for key, origin in family.origins.items() if key in line), "")


def _with_names(error: ConfigError, names: list[str]) -> ConfigError:
    if not names:
        return error
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return ConfigError(f"{names[0]}{more}: {error.what}", where=error.where, do=error.do)


def reads(plan: Any) -> str:
    """Name the model and data of a cell's reference statistics; cells with the same text share them."""
    recipe = plan.cell.recipe
    return canonical_json({"model": recipe["model"], "task": recipe["task"]["name"], "data": recipe["task"]["data"]})
