"""What one process keeps from cell to cell, since the next may need the same: an engine, a model, rendered data."""

from __future__ import annotations

import copy
import gc
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shiqbench.base.machine import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import torch

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.rendering import Rendered, Renderer
    from shiqbench.plugin.task import Task
    from shiqbench.running.team import Team

KEPT_SHARE = 8  # weights are kept where they take at most this part of the machine's memory


@dataclass
class Material:
    """A task's training data for one model: what its episodes are, and each of them in the model's tokens.

    Attributes:
        task: After it has made its episodes, so that it knows the facts about them.
        offered: Its episodes.
        renderer: The model's tokenizer and chat template.
    """

    task: Task
    offered: Sequence[Episode]
    renderer: Renderer
    _rendered: dict[int, Rendered] = field(default_factory=dict)

    def render(self, episodes: Sequence[Episode]) -> list[Rendered]:
        """Episodes in the model's tokens; each of those offered is rendered once, whoever selects it."""
        offered = {id(e) for e in self.offered}
        found = []
        for episode in episodes:
            rendered = self._rendered.get(id(episode)) or self.renderer.render(episode)
            if id(episode) in offered:  # these live as long as the material does, so their ids are theirs alone
                self._rendered[id(episode)] = rendered
            found.append(rendered)
        return found


class Workbench:
    """Keeps the last of each kind; what is asked for under another key replaces it.

    Args:
        lasting: Whether another cell may follow. If none does, nothing is kept that only another would need.
        team: The processes that train with this one.
    """

    def __init__(self, *, lasting: bool, team: Team | None = None) -> None:
        from shiqbench.engines.holder import EngineHolder
        from shiqbench.running.team import ALONE

        self.lasting, self.team = lasting, team or ALONE
        self.engine = EngineHolder()
        self._material: tuple[str, Material] | None = None
        self._pretrained: tuple[str, torch.nn.Module] | None = None

    def material(self, key: str, make: Callable[[], Material]) -> Material:
        """The data under this key, which names everything that they depend on."""
        if self._material is None or self._material[0] != key:
            self._material = None  # before others are made: there is room for one
            self._material = key, make()
        return self._material[1]

    def pretrained(self, weights_sha256: str, folder: Path) -> torch.nn.Module:
        """The model of a folder as it was saved, in fp32, for the caller to change."""
        from shiqbench.training.policy import pretrained

        if self._pretrained is not None and self._pretrained[0] == weights_sha256:
            return copy.deepcopy(self._pretrained[1])
        self._pretrained = None
        model = pretrained(folder)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if self.lasting and size * KEPT_SHARE <= memory().total:
            self._pretrained = weights_sha256, copy.deepcopy(model)
        return model

    def make_room_for_training(self) -> None:
        """Close the engine where it would hold the GPU's memory, or where nothing more is evaluated with it."""
        import torch

        if torch.cuda.is_available() or not self.lasting:
            self.engine.close()

    def make_room_for_engine(self) -> None:
        """Give back what training has left on the GPU."""
        import torch

        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Free everything."""
        self.engine.close()
        self._material = self._pretrained = None


@contextmanager
def workbench(team: Team | None = None) -> Iterator[Workbench]:
    """For one run: closed after it."""
    bench = Workbench(lasting=False, team=team)
    try:
        yield bench
    finally:
        bench.close()
