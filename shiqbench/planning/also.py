"""``--also TASK:ARG``: evaluates the same cells on further tasks with the same engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.planning.engine import check_task, refuse_what_a_server_decides
from shiqbench.planning.plan import ModelPlan
from shiqbench.planning.settings import nest, preset_values
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.planning.plan import Request, RunPlan
    from shiqbench.plugin.task import Task

SHARED = ("engine", "precision", "max_context")  # an engine is built for these; the cell's own evaluation sets them
SECTIONS = ("task", "eval")


def also_plans(plan: RunPlan, request: Request, settings: Mapping[str, Any]) -> tuple[ModelPlan, ...]:
    """One plan per ``--also``, each with the cells of ``plan``.

    Args:
        plan: Plan of the cell and its own evaluation.
        request: The user's request.
        settings: ``{task: {"task": {...}, "eval": {...}}}``, from ``--set also.TASK.task.key=value``.

    Raises:
        ConfigError: A task or a setting cannot be honoured.
    """
    names = [text.partition(":")[0] for text in request.also]
    for name in settings:
        if name not in names:
            raise ConfigError(
                f"also.{name} cannot be honoured: there is no --also {name}{did_you_mean(name, names)}",
                where="--set",
                do="add it, or leave the setting out",
            )
    if len(set(request.also)) < len(request.also):
        raise ConfigError("the same task twice", where="--also", do="give each task once")
    return tuple(_also(plan, request, text, settings) for text in request.also)


def _also(plan: RunPlan, request: Request, text: str, settings: Mapping[str, Any]) -> ModelPlan:
    name, colon, argument = text.partition(":")
    spec = plan.found.task(name)
    if not isinstance(plan, ModelPlan) or spec.own_policy:
        own = spec if isinstance(plan, ModelPlan) else plan.cell.task
        raise ConfigError(
            f"{own.name} brings its own policy, so the two tasks share no language model",
            where=f"--also {text}",
            do="leave it out",
        )
    typed = _typed(name, settings.get(name, {}))
    preset = nest(preset_values(spec, request.preset, "base"))
    task_values = {**preset["task"], **typed["task"]}
    if colon:
        if not spec.argument or spec.argument in typed["task"]:
            raise ConfigError(
                f"{argument!r} cannot be honoured: {name} "
                + (f"has its {spec.argument} from --set too" if spec.argument else "takes no argument"),
                where=f"--also {text}",
                do=f"write --also {name}",
            )
        task_values[spec.argument] = argument
    config = validate(spec.load_config(), task_values, f"also.{name}.task")
    shared = {key: getattr(plan.evaluation, key) for key in SHARED}
    refuse_what_a_server_decides(plan.engine, typed["eval"], f"also.{name}.eval.")
    evaluation = validate(spec.load_sections()[1], {**preset["eval"], **shared, **typed["eval"]}, f"also.{name}.eval")
    task: Task = spec.load()(config)
    task.use_registry(plan.found)
    found = replace(plan, evaluation=evaluation, task=task, name=text, added=spec)
    engine = plan.found.engine(evaluation.engine)
    if engine is not plan.engine:
        if engine.served or plan.engine.served:
            raise ConfigError(
                f"{plan.engine.name} and {engine.name} do not have the same model",
                where=f"also.{name}.eval.engine",
                do="leave it out",
            )
        found = replace(
            found,
            engine=engine,
            engine_config=engine.load_config()(),  # the request's settings are for the other engine
            engine_version=engine.installed(),
        )
    check_task(found)
    return found


def _typed(name: str, values: Any) -> dict[str, dict[str, Any]]:
    """Return the sections of ``also.NAME``.

    Raises:
        ConfigError: A key is not of the form ``also.NAME.task.key`` or ``also.NAME.eval.key``.
    """
    if not isinstance(values, dict) or not all(k in SECTIONS and isinstance(v, dict) for k, v in values.items()):
        raise ConfigError(
            f"also.{name} has the sections {' and '.join(SECTIONS)}",
            where="--set",
            do=f"write --set also.{name}.task.key=value",
        )
    return {section: values.get(section, {}) for section in SECTIONS}
