"""Plan a whole matrix and validate it before anything starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.base.trackers import check_tracker
from shiqbench.matrices.cells import Cell, PlannedFamily, State, plan_families, reads
from shiqbench.matrices.estimate import Forecast, estimate
from shiqbench.matrices.families import Expansion
from shiqbench.matrices.read import read
from shiqbench.matrices.tuning import Trials, trials
from shiqbench.planning.plan import ModelPlan
from shiqbench.plugin.registry import registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.matrices.families import Choice
    from shiqbench.matrices.job import Job
    from shiqbench.matrices.schema import Settings


@dataclass(frozen=True)
class Stage:
    """Cells that may run in parallel.

    Attributes:
        planned: Families of the cells.
    """

    planned: tuple[PlannedFamily, ...]

    @cached_property
    def cells(self) -> list[list[Cell]]:
        """Cells of each family."""
        return [list(p.cells()) for p in self.planned]

    @property
    def jobs(self) -> list[Job]:
        """Jobs for an executor."""
        return [c.job for mine in self.cells for c in mine]

    @property
    def missing(self) -> list[Job]:
        """Jobs of the cells that are not done, judged by the files in their folders."""
        return [c.job for mine in self.cells for c in mine if c.state() is not State.DONE]

    def states(self) -> dict[Path, State]:
        """Return cell folder -> state, for every cell."""
        return {c.folder: c.state() for mine in self.cells for c in mine}

    def estimate(self, states: Mapping[Path, State]) -> Forecast:
        """Estimate the cost of the missing cells."""
        return estimate(self.planned, states, self.cells)

    def starts(self) -> Counter[str]:
        """Return label of each shared start -> number of cells that begin with it."""
        found: Counter[str] = Counter()
        for planned, mine in zip(self.planned, self.cells, strict=True):
            if planned.plan.cell.start is not None:
                found[planned.plan.cell.start.label] += len(mine)
        return found

    def references(self) -> list[int]:
        """Return the sizes of the groups of cells that share reference statistics (same model and data)."""
        found: Counter[str] = Counter()
        for planned, mine in zip(self.planned, self.cells, strict=True):
            cell = planned.plan.cell
            reading = cell.train is not None and cell.algorithm.load().uses_reference
            if reading and isinstance(planned.plan, ModelPlan):
                found[reads(planned.plan)] += len(mine)
        return sorted(found.values(), reverse=True)

    def budgets(self) -> dict[str, dict[str, list[str]]]:
        """Return task -> budget -> its algorithms, for tasks whose algorithms have different budgets."""
        of: dict[str, dict[str, dict[str, None]]] = {}
        for planned in self.planned:
            train = planned.plan.cell.train
            if train is not None:
                values = train.model_dump()
                said = ", ".join(f"{values[k]} {k}" for k in ("updates", "tokens") if values.get(k)) or "its default"
                of.setdefault(planned.family.request.task, {}).setdefault(planned.family.request.algo, {})[said] = None
        found: dict[str, dict[str, list[str]]] = {}
        for task, by_algorithm in of.items():
            for algorithm, said_of in by_algorithm.items():
                found.setdefault(task, {}).setdefault(" and ".join(sorted(said_of)), []).append(algorithm)
        return {task: by_budget for task, by_budget in found.items() if len(by_budget) > 1}


@dataclass(frozen=True)
class MatrixPlan:
    """A matrix before it runs.

    Attributes:
        expansion: Expansion of the matrix file.
        results: Results folder.
        plugins: Plugin files.
        tuning: Trials; empty without tuning.
        trial_stage: Cells of the trials.
        final: Cells that are reported; with tuning: at untuned settings, for the cost estimate.
        untuned: Algorithms without a grid, if others have one.
    """

    expansion: Expansion
    results: Path
    plugins: tuple[Path, ...]
    tuning: tuple[Trials, ...]
    trial_stage: Stage
    final: Stage
    untuned: tuple[str, ...]

    def final_stage(self, chosen: Mapping[Choice, Settings]) -> Stage:
        """Return the final cells with the settings that tuning chose."""
        return _stage(self.expansion, self.results, self.plugins, chosen) if chosen else self.final


def make_matrix(
    source: Path | Mapping[str, Any],
    *,
    results: Path | None = None,
    plugins: tuple[Path, ...] = (),
    track: str | None = None,
) -> MatrixPlan:
    """Read, expand and plan a matrix; write nothing.

    Args:
        source: Matrix file, or a dictionary with the same content.
        results: Results folder, instead of the one in the file.
        plugins: Plugin files, in addition to those in the file.
        track: Experiment tracker, instead of the one in the file.

    Raises:
        ConfigListError: Lists all errors.
    """
    file = read(source)
    if track is not None:
        file = file.model_copy(update={"matrix": file.matrix.model_copy(update={"track": track})})
    check_tracker(file.matrix.track)
    beside = source.parent if isinstance(source, Path) else Path()
    every = tuple(dict.fromkeys((*plugins, *(beside / p for p in file.matrix.plugins))))
    expansion = Expansion(file, registry(every), str(source) if isinstance(source, Path) else "the matrix")
    where = results if results is not None else Path(file.matrix.results)
    final = _stage(expansion, where, every, {})
    if not final.jobs:
        raise ConfigError("no cell is left", where=expansion.where, do="exclude less")
    found, untuned = trials(expansion)
    trial_stage = Stage(
        tuple(plan_families([f for t in found for f in t.families], where, every, expansion.where)) if found else ()
    )
    return MatrixPlan(expansion, where, every, tuple(found), trial_stage, final, tuple(untuned))


def _stage(expansion: Expansion, results: Path, plugins: tuple[Path, ...], tuned: Mapping[Choice, Settings]) -> Stage:
    families = expansion.families(tuned)
    wrong = list(expansion.errors)
    try:
        planned = plan_families(families, results, plugins, expansion.where)
    except ConfigListError as error:
        wrong += error.errors
    if wrong:
        raise ConfigListError(wrong)
    return Stage(tuple(planned))
