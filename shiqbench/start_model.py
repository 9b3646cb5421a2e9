"""The model that training starts from, as a task may use it: its chat template, its identity."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.rendering import Renderer


class StartModel:
    """A model folder; nothing is loaded before it is asked for.

    Args:
        folder: The weights that training starts from.
        weights_sha256: Their identity, where it is known.
    """

    def __init__(self, folder: Path, weights_sha256: str = "") -> None:
        self.folder, self.weights_sha256 = folder, weights_sha256

    @cached_property
    def renderer(self) -> Renderer:
        """Its tokenizer and chat template."""
        from shiqbench.rendering import Renderer

        return Renderer(self.folder)
