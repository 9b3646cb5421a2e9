"""The only engine of a process; different weights are loaded into it in turn."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError
from shiqbench.base.progress import waiting
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.identity import architecture, identity_beside_weights
from shiqbench.plugin.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from shiqbench.episodes.generation import Generator
    from shiqbench.plugin.config import EngineConfig, EvalConfig
    from shiqbench.plugin.specs import EngineSpec


class EngineHolder:
    """Keeps the only engine of this process, loads weights into it, and keeps the last renderer."""

    def __init__(self) -> None:
        self._renderer: tuple[str, Renderer] | None = None
        self._engine: Generator | None = None
        self._made: tuple[Any, ...] | None = None

    def ready(
        self, spec: EngineSpec, weights: Path, config: EvalConfig, settings: EngineConfig | None = None
    ) -> Generator:
        """Return an engine with these weights: reloaded if one of this kind and architecture runs, otherwise built.

        Args:
            spec: Spec of the engine.
            weights: Model folder.
            config: Precision and context.
            settings: The engine's own settings; None takes its defaults.

        Raises:
            ConfigError: The engine asks a server, which has no weights of ours.
        """
        if spec.served:
            raise ConfigError(
                f"the engine {spec.name} asks a server, which cannot load weights",
                where=str(weights),
                do="use another engine here",
            )
        settings = settings or spec.load_config()()
        wanted = (spec, settings, config.precision, config.max_context, architecture(weights))
        if self._engine is not None and self._made == wanted:
            self._engine.load(weights)
            return self._engine
        self.close()
        with waiting(f"starting {spec.name}"):
            limits = {"precision": config.precision, "max_context": config.max_context}
            self._engine = spec.load()(weights, config=settings, **limits)
        self._made = wanted
        return self._engine

    @contextmanager
    def open(self, folder: Path, config: EvalConfig) -> Iterator[Generator]:
        """An engine with its default settings, for a task that generates training data; the holder keeps it."""
        yield self.ready(registry().engine(config.engine), folder, config)

    def renderer(self, weights: Path, template: Mapping[str, Any] | None = None) -> Renderer:
        """The renderer of a model folder; the last one is used again if all files except the weights are the same.

        Args:
            weights: Model folder.
            template: Further keywords of the chat template.
        """
        key = digest([identity_beside_weights(weights), dict(template or {})])
        if self._renderer is None or self._renderer[0] != key:
            self._renderer = key, Renderer(weights, template)
        return self._renderer[1]

    def close(self) -> None:
        """Free the engine's memory."""
        if self._engine is not None:
            self._engine.close()
        self._engine = self._made = None


@contextmanager
def engine_holder() -> Iterator[EngineHolder]:
    """An engine holder that closes its engine."""
    holder = EngineHolder()
    try:
        yield holder
    finally:
        holder.close()


@contextmanager
def open_engine(folder: Path, config: EvalConfig) -> Iterator[Generator]:
    """A separate engine for a model folder, closed at the end."""
    with engine_holder() as holder, holder.open(folder, config) as engine:
        yield engine
