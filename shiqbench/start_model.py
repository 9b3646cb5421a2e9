"""The model that training starts from, as a task may use it: its chat template, its identity, its answers."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shiqbench.config import EvalConfig
    from shiqbench.evaluation import EngineHolder
    from shiqbench.generation import Generator
    from shiqbench.rendering import Renderer


class Bar(Protocol):
    """Shows progress: a context that yields ``advance(done, total)``."""

    def __call__(self, name: str, total: int) -> AbstractContextManager[Callable[[int, int], None]]:
        """Begin a step of known length."""


@contextmanager
def _no_bar(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


class StartModel:
    """A model folder; nothing is loaded before it is asked for.

    Args:
        folder: The weights that training starts from.
        weights_sha256: Their identity, where it is known.
        bar: Shows the progress of what is done with it.
        holder: Of this process's engine, if it has one: there may be no other beside it.
    """

    def __init__(
        self, folder: Path, weights_sha256: str = "", bar: Bar = _no_bar, holder: EngineHolder | None = None
    ) -> None:
        self.folder, self.weights_sha256, self.bar, self.holder = folder, weights_sha256, bar, holder

    @cached_property
    def renderer(self) -> Renderer:
        """Its tokenizer and chat template."""
        from shiqbench.rendering import Renderer

        return Renderer(self.folder)

    @contextmanager
    def engine(self, config: EvalConfig) -> Iterator[Generator]:
        """An engine with its weights, built as for such an evaluation.

        Without a holder it is closed at the end; with one, its owner closes it before training needs the memory.
        """
        from shiqbench.evaluation import engine_holder
        from shiqbench.registry import registry

        spec = registry().engine(config.engine)
        if self.holder is not None:
            yield self.holder.ready(spec, self.folder, config)
            return
        with engine_holder() as holder:
            yield holder.ready(spec, self.folder, config)
