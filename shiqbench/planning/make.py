"""Makes a plan from a request; the whole request is validated before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.trackers import check_tracker
from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.models.sources import ModelSource
from shiqbench.planning.also import also_plans
from shiqbench.planning.curve import make_curve
from shiqbench.planning.engine import check_task, engine_config, served_model
from shiqbench.planning.plan import CellPlan, ExactPlan, ModelPlan, Request, RunPlan
from shiqbench.planning.settings import (
    nest,
    preset_values,
    sections,
    start_values,
    task_values,
)
from shiqbench.planning.stored import model_and_start
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import Registry, registry
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from shiqbench.plugin.specs import AlgorithmSpec, TaskSpec
    from shiqbench.plugin.task import TaskBase


def make_plan(request: Request) -> RunPlan:
    """Validate the whole request and make its plan.

    Raises:
        ConfigError: A part of the request is wrong; nothing has been written.
    """
    check_tracker(request.track)
    found = registry(request.plugins)
    algorithm, task = found.algorithm(request.algo), found.task(request.task)
    if task.own_policy:
        _refuse_model_options(request, task)
    options = {"eval.engine": request.engine, "eval.repeats": request.repeats}
    typed = {**request.settings, **{key: value for key, value in options.items() if value is not None}}
    section = sections(algorithm, task, request.preset, typed)
    engine = None if task.own_policy else found.engine(section.evaluation.engine)
    version = ""
    if algorithm.trains and not task.load().trainable:
        raise ConfigError(
            f"{task.name} only evaluates, and {algorithm.name} trains",
            where="--task",
            do=f"give --algo base --model cell:DIGEST, or train on another task with --also {task.name}",
        )
    if task.own_policy:
        model, start = ModelSource(f"own policy of {task.name}", {"own_policy": task.name}, None), None
    elif engine is not None and engine.served:
        (model, version), start = served_model(request, algorithm, engine, section, typed), None
    else:
        preset_model = task.presets[request.preset].get("model", EMBEDDED_MODEL)
        model, start = model_and_start(request, preset_model, algorithm, section.model.template)
    common: dict[str, Any] = {"task": task, "preset": request.preset, "results": request.results}
    asked = section.start
    if start is None and algorithm.trains and asked.algorithm != "none":
        start_spec = found.algorithm(asked.algorithm)
        of_preset = nest(preset_values(task, request.preset, start_spec.name))
        shared = start_values(section.values["task"], section.task.setting_fields, asked)
        try:
            start_task = task_values(task, {**of_preset["task"], **shared}, of_preset["eval"], "start.task")
        except ConfigError as error:
            raise _of_start(error, request.preset, of_preset["task"], asked.task) from error
        start = CellPlan(
            algorithm=start_spec,
            algo=validate(start_spec.load_config(), asked.algo, "start.algo"),
            task_config=validate(task.load_config(), start_task, "start.task"),
            train=validate(TrainConfig, asked.train, "start.train"),
            seed=asked.seed,
            model=model,
            start=None,
            origins=_origins(found, start_spec, task),
            **common,
        )
    cell = CellPlan(
        algorithm=algorithm,
        algo=section.algo,
        task_config=section.task,
        train=section.train if algorithm.trains else None,
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
    played: TaskBase = task.load()(section.task)
    played.use_registry(found)
    parts: dict[str, Any] = {"cell": cell, "base": base, "task": played, "found": found, "name": task.name}
    plan: RunPlan
    if engine is None:
        plan = ExactPlan(evaluation=section.evaluation, **parts)
    else:
        plan = ModelPlan(
            evaluation=section.evaluation,
            engine=engine,
            engine_config=engine_config(engine, section),
            engine_version=version or engine.installed(),
            **parts,
        )
        check_task(plan)
    curve = make_curve(plan, request.eval_every, request.keep)
    return replace(plan, also=also_plans(plan, request, section.values["also"]), curve=curve)


def _of_start(error: ConfigError, preset: str, of_preset: dict[str, Any], own: dict[str, Any]) -> ConfigError:
    """The same error, with the true place of the start's settings: the preset's, and ``start.task`` over them."""
    taken = [f"task.{name}" for name in of_preset if name not in own and f"task.{name}" in error.what]
    if not taken:
        return error
    return ConfigError(
        f"the start takes {taken[0]} from preset {preset}: {error.what}",
        where="start.task",
        do=f"take it out of the preset, or give start.task.* with which it goes together ({error.do})",
    )


def _refuse_model_options(request: Request, task: TaskSpec) -> None:
    """Refuse options for a model or an engine, because a task with its own policy has neither.

    Raises:
        ConfigError: Such an option was given.
    """
    of_engine = next((key for key in request.settings if key.startswith("engine.")), None)
    if of_engine is not None:
        raise ConfigError(
            f"{of_engine} cannot be honoured: {task.name} brings its own policy and asks no engine",
            where="--set",
            do="leave it out",
        )
    for option, value in (("--model", request.model), ("--engine", request.engine), ("--repeats", request.repeats)):
        if value is not None:
            raise ConfigError(
                f"{option} cannot be honoured: {task.name} brings its own policy and scores it exactly",
                where=option,
                do="leave it out",
            )


def _origins(found: Registry, algorithm: AlgorithmSpec, task: TaskSpec) -> dict[str, str]:
    """Plugin files enter digests by their sha256; distributions enter them by the versions in their specs."""
    origins = {"algorithm": found.origin("algorithm", algorithm.name), "task": found.origin("task", task.name)}
    return {kind: sha256 for kind, sha256 in origins.items() if sha256 is not None}
