"""The engine of a plan: its settings, and what a model behind a URL allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.models.sources import ModelSource
from shiqbench.planning.plan import OF_SERVER
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shiqbench.episodes.generation import ChatEngine
    from shiqbench.planning.plan import ModelPlan, Request
    from shiqbench.planning.settings import Sections
    from shiqbench.plugin.config import EngineConfig
    from shiqbench.plugin.specs import AlgorithmSpec, EngineSpec


def engine_config(engine: EngineSpec, section: Sections) -> EngineConfig:
    """The engine's own settings, ``engine.*``.

    Raises:
        ConfigError: The engine has no such setting, or its value is wrong.
    """
    config: EngineConfig = validate(engine.load_config(), section.values["engine"], "engine")
    return config


def served_model(
    request: Request, algorithm: AlgorithmSpec, engine: EngineSpec, section: Sections, typed: Mapping[str, Any]
) -> tuple[ModelSource, str]:
    """Return the model that a server has, and the server's version.

    Args:
        request: The user's request; its model is the name at the server.
        algorithm: The algorithm, which must not train.
        engine: The engine that asks the server.
        section: The validated settings.
        typed: The settings that the user gave, without those of presets.

    Raises:
        ConfigError: The server does not answer or has no such model, or a part of the request needs the model's files.
    """
    if algorithm.trains:
        raise ConfigError(
            f"{algorithm.name} trains, and {engine.name} evaluates a model that a server has",
            where=f"--engine {engine.name}",
            do="give --algo base, or another engine",
        )
    refuse_what_a_server_decides(engine, (key.removeprefix("eval.") for key in typed if key.startswith("eval.")))
    if section.model.template:
        raise ConfigError(
            "model.template cannot be honoured: the server renders the chat template",
            where="--set",
            do="start the server with it, or send it with engine.extra",
        )
    if request.model is not None and request.model.startswith("cell:"):
        raise ConfigError(
            f"{engine.name} cannot load a cell's weights",
            where=f"--model {request.model}",
            do="use another engine; or export the cell, serve the folder, and give its name at the server",
        )
    config = engine_config(engine, section)
    engine.installed()
    client: ChatEngine = engine.load()(config, request.model)
    try:
        identity, version = dict(client.identity), client.version
    finally:
        client.close()
    return ModelSource(str(request.model), identity, None, served=True), version


def refuse_what_a_server_decides(engine: EngineSpec, names: Iterable[str], prefix: str = "eval.") -> None:
    """Refuse settings of an evaluation that a server decides.

    Raises:
        ConfigError: One was given.
    """
    for name in names:
        if engine.served and name in OF_SERVER:
            raise ConfigError(
                f"{prefix}{name} cannot be honoured: the server decides it", where="--set", do="leave it out"
            )


def check_task(plan: ModelPlan) -> None:
    """Refuse a task that needs more of a served model than its answers.

    Raises:
        ConfigError: It says what is needed.
    """
    if plan.engine.served and plan.task.needs_tokens:
        raise ConfigError(
            f"{plan.name} needs {plan.task.needs_tokens}, which a served model does not give",
            where=f"--engine {plan.engine.name}",
            do="use an engine that loads the model's weights, or another task or setting of it",
        )
