"""The model that training starts from, for tasks that use its chat template, its identity or its answers."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from shiqbench.episodes.rendering import Renderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from shiqbench.episodes.generation import Generator
    from shiqbench.plugin.config import EvalConfig


class Bar(Protocol):
    """Shows progress: a context that yields ``advance(done, total)``."""

    def __call__(self, name: str, total: int) -> AbstractContextManager[Callable[[int, int], None]]:
        """Begin a step of known length."""


@contextmanager
def _no_bar(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


class EngineOpener(Protocol):
    """Opens an engine with a model's weights; the engine is usable inside the context."""

    def __call__(self, folder: Path, config: EvalConfig) -> AbstractContextManager[Generator]:
        """Return an engine like that of an evaluation with this configuration."""


class StartModel:
    """A model folder; files are loaded when they are first used.

    Args:
        folder: The weights that training starts from.
        weights_sha256: Identity of the whole folder, if it is known.
        bar: Progress bar for work with this model.
        opener: Opens an engine. None while text must not be generated, such as before a run starts.
        template: Further keywords of the chat template.
    """

    def __init__(
        self,
        folder: Path,
        weights_sha256: str = "",
        bar: Bar = _no_bar,
        opener: EngineOpener | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.weights_sha256, self.bar, self._opener = folder, weights_sha256, bar, opener
        self._template = template

    @cached_property
    def renderer(self) -> Renderer:
        """The model's tokenizer and chat template."""
        return Renderer(self.folder, self._template)

    def other(self, folder: Path, weights_sha256: str) -> StartModel:
        """Another model, used with the same engine and progress bar."""
        return StartModel(folder, weights_sha256, self.bar, self._opener, self._template)

    def engine(self, config: EvalConfig) -> AbstractContextManager[Generator]:
        """Return an engine with the model's weights, like that of an evaluation with this configuration.

        Raises:
            RuntimeError: Text must not be generated yet.
        """
        if self._opener is None:
            raise RuntimeError("a task generated text before its run started; do that in episodes()")
        return self._opener(self.folder, config)
