"""Expand a matrix file into families: one algorithm on one task and model under one group of settings, with its seeds.

Settings are merged in this order: ``[set]``, ``[start]`` and ``[budget]``, the task's, the algorithm's, overrides,
results of tuning, the sweep. A later one wins. An algorithm or a task cannot use some settings (``train.*`` for
``base``, a model for ``mdp``). Such a setting is ignored if it was given for all cells, and refused if it was given
only for that algorithm or task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from shiqbench.base.digest import canonical_json
from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.matrices.executors.machine import usual_needs
from shiqbench.matrices.job import Resources, Slurm
from shiqbench.matrices.schema import Needs, OfAlgorithm, OfTask, Pattern, dotted
from shiqbench.planning.plan import Request
from shiqbench.store.labels import brief

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shiqbench.matrices.schema import Grid, MatrixFile, Settings
    from shiqbench.plugin.registry import Registry

Combination = tuple[str, str, str | None]  # algorithm, task, model
OF_TRAINING = ("train", "algo", "start")  # sections that an algorithm without training does not have


class Choice(NamedTuple):
    """What tuning chooses settings for.

    Attributes:
        algorithm: Name of the algorithm.
        task: Name of the task.
        model: Model as the file names it; None for the preset's.
        under: The task's settings that are swept, as canonical text: each choice of them has trials of its own.
    """

    algorithm: str
    task: str
    model: str | None
    under: str = "{}"

    @classmethod
    def of(cls, combination: Combination, swept: Settings) -> Choice:
        """The choice that cells of a sweep take their settings from."""
        return cls(*combination, canonical_json(_of_task(swept)))


@dataclass(frozen=True)
class Family:
    """Cells that differ only in their seed.

    Attributes:
        request: Request of any of the cells.
        origins: ``section.key`` of each setting -> its place in the file.
        varied: Settings that the sweep or an include sets; they are part of the cell's name.
        seeds: Training seeds; only one if nothing is trained.
        resources: Resources of each cell.
    """

    request: Request
    origins: dict[str, str]
    varied: tuple[str, ...]
    seeds: tuple[int, ...]
    resources: Resources

    @property
    def name(self) -> str:
        """Task, algorithm, model if one is named, and the varied settings."""
        asked = self.request
        model = [] if asked.model is None else [asked.model]
        varied = (f"{k}={brief(asked.settings[k])}" for k in self.varied)
        return " ".join([asked.task, asked.algo, *model, *varied])


class Expansion:
    """Expands one file and collects all its errors.

    Args:
        file: Validated matrix file.
        found: Registry of algorithms and tasks.
        where: Name of the file, for messages.
    """

    def __init__(self, file: MatrixFile, found: Registry, where: str) -> None:
        self.file, self.found, self.where = file, found, where
        self.errors: list[ConfigError] = []
        self._used: set[int] = set()  # ids of the patterns that matched something

    def families(self, tuned: Mapping[Choice, Settings]) -> list[Family]:
        """Return every family of known names, after excludes and includes; what is wrong is added to ``errors``.

        Args:
            tuned: Settings that tuning chose.
        """
        self._check_names()
        named = not self.errors
        crossed = [f for of in self.combinations() for f in self._swept(of, tuned)]
        kept = [f for family in crossed if (f := self._excluded(family)).seeds]
        kept += [f for pattern in self.file.include for f in self._included(pattern)]
        for kind, patterns in (("exclude", self.file.exclude), ("override", self.file.override)):
            for number, pattern in enumerate(patterns):
                if named and id(pattern) not in self._used:
                    self._wrong(f"{kind} {number + 1} matches no cell: {_said(pattern)}", "correct it or remove it")
        return kept

    def combinations(self) -> list[Combination]:
        """Return all combinations of known names; the task is the outermost loop."""
        axes = self.file.matrix
        found: list[Combination] = []
        for task in filter(self.found.tasks.__contains__, axes.tasks):
            mine = self._task(task)
            models: Sequence[str | None] = (None,) if self.found.task(task).own_policy else (axes.models or (None,))
            for model, algorithm in product(models, filter(self.found.algorithms.__contains__, axes.algorithms)):
                if mine.algorithms is None or algorithm in mine.algorithms:
                    found.append((algorithm, task, model))
        return found

    def settings(
        self, algorithm: str, task: str, model: str | None = None, seed: int | None = None
    ) -> tuple[Settings, dict[str, str]]:
        """Return the merged settings without tuning and sweep, and the origin of each."""
        file, of_task, of_algorithm = self.file, self._task(task), self._algorithm(algorithm)
        general: list[tuple[str, Settings]] = [
            ("[set]", dotted(file.set)),
            ("[start]", dotted(file.start, "start")),
            ("[budget]", file.budget.settings()),
            (f"[tasks.{task}.set]", dotted(of_task.set)),
            (f"[tasks.{task}.budget]", of_task.budget.settings()),
        ]
        layers = [(where, self._honoured(algorithm, task, values)) for where, values in general]
        layers.append((f"[algorithms.{algorithm}.set]", dotted(of_algorithm.set)))
        for number, override in enumerate(file.override):
            if _matches(override, algorithm, task, model, seed):
                self._used.add(id(override))
                values = dotted(override.set)
                named = override.algorithm is not None
                layers.append((f"override {number + 1}", values if named else self._honoured(algorithm, task, values)))
        merged: Settings = {}
        origins: dict[str, str] = {}
        for where, values in layers:
            merged |= values
            origins |= dict.fromkeys(values, where)
        return merged, origins

    def family(
        self, algorithm: str, task: str, model: str | None, chosen: Mapping[str, Any], varied: Sequence[str] = ()
    ) -> list[Family]:
        """Return the families of one combination under further settings: one, or more if overrides name seeds."""
        axes, of_task = self.file.matrix, self._task(task)
        trains, own = self.found.algorithm(algorithm).trains, self.found.task(task).own_policy
        seeds = tuple(of_task.seeds or axes.seeds) if trains else (0,)
        by_settings: dict[str, Family] = {}
        for seed in seeds:
            settings, origins = self.settings(algorithm, task, model, seed)
            settings |= chosen
            key = canonical_json(settings) if any(o.seed is not None for o in self.file.override) else ""
            if key in by_settings:
                by_settings[key] = replace(by_settings[key], seeds=(*by_settings[key].seeds, seed))
                continue
            rest = seeds if not key else (seed,)
            request = Request(
                algorithm,
                task,
                model,
                preset=of_task.preset or axes.preset,
                settings=settings,
                engine=None if own else axes.engine,
                repeats=None if own else axes.repeats,
                also=() if own else tuple(axes.also if of_task.also is None else of_task.also),
                eval_every=axes.eval_every if trains and not own else None,
                track=axes.track,
                keep=axes.keep if trains and not own else None,
            )
            by_settings[key] = Family(request, origins, tuple(varied), rest, self._resources(algorithm, task))
            if not key:
                break
        return list(by_settings.values())

    def swept_task_settings(self, combination: Combination) -> list[Settings]:
        """The settings of the task, for each choice that the sweep makes of them and that has cells."""
        found = {}
        for swept in self._sweep(*combination[:2]):
            if any(self._excluded(f).seeds for f in self.family(*combination, swept, tuple(swept))):
                found[canonical_json(_of_task(swept))] = _of_task(swept)
        return list(found.values())

    def swept_keys(self, combination: Combination) -> set[str]:
        """The settings that are swept."""
        return {key for swept in self._sweep(*combination[:2]) for key in swept}

    def _sweep(self, algorithm: str, task: str) -> list[Settings]:
        grid: Grid = {
            **self._honoured(algorithm, task, self.file.sweep),
            **self._honoured(algorithm, task, self._task(task).sweep),
            **self._algorithm(algorithm).sweep,
        }
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def _swept(self, combination: Combination, tuned: Mapping[Choice, Settings]) -> list[Family]:
        found = []
        for swept in self._sweep(*combination[:2]):
            chosen = tuned.get(Choice.of(combination, swept), {})
            found += self.family(*combination, {**chosen, **swept}, tuple(swept))
        return found

    def _excluded(self, family: Family) -> Family:
        seeds, asked = list(family.seeds), family.request
        for pattern in self.file.exclude:
            settings = dotted(pattern.set)
            if all(k in asked.settings and asked.settings[k] == v for k, v in settings.items()):
                gone = [s for s in seeds if _matches(pattern, asked.algo, asked.task, asked.model, s)]
                if gone:
                    self._used.add(id(pattern))
                    seeds = [s for s in seeds if s not in gone]
        return replace(family, seeds=tuple(seeds))

    def _included(self, pattern: Pattern) -> list[Family]:
        if pattern.algorithm is None or pattern.task is None:
            self._wrong(f"include names no algorithm or no task: {_said(pattern)}", "name both")
            return []
        if pattern.algorithm not in self.found.algorithms or pattern.task not in self.found.tasks:
            return []
        chosen = dotted(pattern.set)
        found = self.family(pattern.algorithm, pattern.task, pattern.model, chosen, tuple(chosen))
        return [f if pattern.seed is None else replace(f, seeds=(pattern.seed,)) for f in found[:1]]

    def _honoured(self, algorithm: str, task: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Drop the settings for all cells that this combination cannot use."""
        left_out = () if self.found.algorithm(algorithm).trains else OF_TRAINING
        if self.found.task(task).own_policy:
            left_out = (*left_out, "start")
        return {k: v for k, v in values.items() if k.partition(".")[0] not in left_out}

    def _algorithm(self, name: str) -> OfAlgorithm:
        return self.file.algorithms.get(name, OfAlgorithm())

    def _task(self, name: str) -> OfTask:
        return self.file.tasks.get(name, OfTask())

    def _resources(self, algorithm: str, task: str) -> Resources:
        needs: Iterable[Needs] = (
            self.file.resources,
            self._task(task).resources,
            self._algorithm(algorithm).resources,
        )
        said: dict[str, Any] = {}
        for each in needs:
            said = each.over(said)
        slurm = said.pop("slurm")
        language_model = not self.found.task(task).own_policy
        return Resources(
            **{**usual_needs(language_model=language_model), **said},
            slurm=Slurm(**{**slurm, "setup": tuple(slurm.get("setup") or ())}),
            unsaid=tuple(k for k in ("cpus", "gpus") if k not in said) if language_model else (),
        )

    def _check_names(self) -> None:
        axes, include = self.file.matrix, self.file.include
        algorithms = {*axes.algorithms, *(p.algorithm for p in include if p.algorithm)}
        tasks = {*axes.tasks, *(p.task for p in include if p.task)}
        for what, names, known in (
            ("algorithm", algorithms, self.found.algorithms),
            ("task", tasks, self.found.tasks),
        ):
            for name in sorted(names - set(known)):
                self._wrong(f"unknown {what} {name!r}{did_you_mean(name, known)}", f"see `shiqbench list {what}s`")
        for table, there, used in (
            ("algorithms", self.file.algorithms, algorithms),
            ("tasks", self.file.tasks, tasks),
        ):
            for name in there:
                if name not in used:
                    near = did_you_mean(name, used)
                    self._wrong(f"[{table}.{name}] matches no cell{near}", "correct it or remove it")
        for name, task in self.file.tasks.items():
            for algorithm in task.algorithms or ():
                if algorithm not in axes.algorithms:
                    near = did_you_mean(algorithm, axes.algorithms)
                    self._wrong(
                        f"tasks.{name}.algorithms: {algorithm!r} is not in matrix.algorithms{near}", "add it there"
                    )

    def _wrong(self, what: str, do: str) -> None:
        self.errors.append(ConfigError(what, where=self.where, do=do))


def _of_task(settings: Settings) -> Settings:
    """The settings of the task among these."""
    return {k: v for k, v in settings.items() if k.startswith("task.")}


def _matches(pattern: Pattern, algorithm: str, task: str, model: str | None, seed: int | None) -> bool:
    """Return whether the cell matches every key of the pattern."""
    cell = {"algorithm": algorithm, "task": task, "model": model, "seed": seed}
    return all(getattr(pattern, key) in (None, value) for key, value in cell.items())


def _said(pattern: Pattern) -> str:
    said = pattern.model_dump(exclude_defaults=True)
    return ", ".join(f"{k} = {v}" for k, v in said.items()) or "it is empty"
