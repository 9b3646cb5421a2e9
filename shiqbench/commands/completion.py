"""What the tab key offers for names and for ``--set``. Nothing is printed: what cannot be found is not offered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer  # noqa: TC002 - typer reads the types of these functions

from shiqbench.base.errors import ShiqbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from shiqbench.plugin.registry import Registry

Offer = list[tuple[str, str]]


def algorithms(ctx: typer.Context, incomplete: str) -> Offer:
    """Names of algorithms."""
    return _names(ctx, "algorithms", incomplete)


def tasks(ctx: typer.Context, incomplete: str) -> Offer:
    """Names of tasks."""
    return _names(ctx, "tasks", incomplete)


def settings(ctx: typer.Context, incomplete: str) -> Offer:
    """Settings of the chosen algorithm and task; after ``=``, the values of a setting that has only a few."""
    key, equals, begun = incomplete.partition("=")
    try:
        known = dict(
            _settings(_registry(ctx), ctx.params.get("algo"), ctx.params.get("task") or ctx.params.get("name"))
        )
    except ShiqbenchError:
        return []
    if not equals:
        return [(f"{name}=", field.description or "") for name, field in known.items() if name.startswith(key)]
    if key not in known:
        return []
    values = ["true", "false"] if known[key].annotation is bool else _choices(known[key].annotation)
    return [(f"{key}={value}", "") for value in values if value.startswith(begun)]


def _registry(ctx: typer.Context) -> Registry:
    from shiqbench.plugin.registry import registry

    return registry(tuple(Path(file) for file in ctx.params.get("plugin") or ()))


def _names(ctx: typer.Context, kind: str, incomplete: str) -> Offer:
    try:
        specs = getattr(_registry(ctx), kind)
    except ShiqbenchError:
        return []
    return [(name, spec.summary) for name, spec in sorted(specs.items()) if name.startswith(incomplete)]


def _settings(found: Registry, algo: str | None, task: str | None) -> Iterator[tuple[str, Any]]:
    """Every setting that ``run`` takes for them, with its field; an unknown name has none."""
    from shiqbench.plugin.config import StartConfig, TrainConfig

    algorithm = found.algorithms.get(algo or "")
    spec = found.tasks.get(task or "")
    sections: dict[str, type[BaseModel]] = {}
    if algorithm is not None:
        sections["algo"] = algorithm.load_config()
    trains = algorithm is None or algorithm.trains
    if spec is not None:
        train, evaluation = spec.load_sections()
        sections |= {"task": spec.load_config(), **({"train": train} if trains else {}), "eval": evaluation}
        if trains and not spec.own_policy:
            sections |= {"start": StartConfig, "start.train": TrainConfig}
    for section, kind in sections.items():
        yield from ((f"{section}.{name}", field) for name, field in kind.model_fields.items())


def _choices(annotation: Any) -> list[str]:
    """The texts of a Literal, also of one that may be left out; an empty list for other types."""
    return [v for a in get_args(annotation) for v in ([a] if isinstance(a, str) else _choices(a))]
