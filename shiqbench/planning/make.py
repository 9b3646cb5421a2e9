"""A request becomes a plan: validated wholly before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.models.sources import ModelSource
from shiqbench.planning.also import also_plans
from shiqbench.planning.curve import make_curve
from shiqbench.planning.plan import OWN_POLICY_ENGINE, CellPlan, Request, RunPlan
from shiqbench.planning.settings import (
    nest,
    parse_assignments,
    preset_values,
    sections,
    start_values,
    task_values,
)
from shiqbench.planning.stored import model_and_start
from shiqbench.plugin.config import EvalConfig, TaskConfig, TrainConfig
from shiqbench.plugin.registry import Registry, registry
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from shiqbench.plugin.specs import AlgorithmSpec, EngineSpec, TaskSpec
    from shiqbench.plugin.task import Task


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
    played.use_registry(found)
    plan = RunPlan(cell, base, evaluation, engine, version, played, found, task.name)
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
