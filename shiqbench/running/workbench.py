"""Objects that a process keeps because its next cell may need them: an engine, a model, rendered data."""

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
    from shiqbench.plugin.config import BaseWeights
    from shiqbench.plugin.task import Task
    from shiqbench.running.team import Team

KEPT_SHARE = 8  # weights are kept if they take at most 1 / KEPT_SHARE of the machine's memory


@dataclass
class Material:
    """A task's training data for one model: its episodes, and each episode in the model's tokens.

    Attributes:
        task: Task that has made its episodes, so that it knows the facts about them.
        offered: Episodes of the task.
        renderer: Tokenizer and chat template of the model.
    """

    task: Task
    offered: Sequence[Episode]
    renderer: Renderer
    _rendered: dict[int, Rendered] = field(default_factory=dict)

    def render(self, episodes: Sequence[Episode]) -> list[Rendered]:
        """Episodes in the model's tokens; each offered episode is rendered once, for all algorithms."""
        offered = {id(e) for e in self.offered}
        found = []
        for episode in episodes:
            rendered = self._rendered.get(id(episode)) or self.renderer.render(episode)
            if id(episode) in offered:  # these live as long as the material, so their ids stay unique
                self._rendered[id(episode)] = rendered
            found.append(rendered)
        return found


class Workbench:
    """Keeps the last object of each kind; a request with another key replaces it.

    Args:
        lasting: Whether another cell may follow. If not, objects that only another cell would need are not kept.
        team: Processes that train with this one.
    """

    def __init__(self, *, lasting: bool, team: Team | None = None) -> None:
        from shiqbench.engines.holder import EngineHolder
        from shiqbench.running.team import ALONE

        self.lasting, self.team = lasting, team or ALONE
        self.engine = EngineHolder()
        self.checked: set[str] = set()  # see check_model()
        self._material: tuple[str, Material] | None = None
        self._pretrained: tuple[str, torch.nn.Module] | None = None

    def material(self, key: str, make: Callable[[], Material]) -> Material:
        """The data for this key; the key includes everything that they depend on."""
        if self._material is None or self._material[0] != key:
            self._material = None  # free the old data first: there is memory for only one
            self._material = key, make()
        return self._material[1]

    def pretrained(self, weights_sha256: str, folder: Path, base: BaseWeights = "fp32") -> torch.nn.Module:
        """The model of a folder as it was saved, with weights of this type; the caller may change it."""
        from shiqbench.training.policy import pretrained

        key = f"{weights_sha256} {base}"
        if self._pretrained is not None and self._pretrained[0] == key:
            return copy.deepcopy(self._pretrained[1])
        self._pretrained = None
        model = pretrained(folder, base)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if self.lasting and size * KEPT_SHARE <= memory().total:
            self._pretrained = key, copy.deepcopy(model)
        return model

    def make_room_for_training(self) -> None:
        """Close the engine if it would occupy GPU memory, or if no other cell may follow."""
        import torch

        if torch.cuda.is_available() or not self.lasting:
            self.engine.close()

    def make_room_for_engine(self) -> None:
        """Free the GPU memory that training no longer needs."""
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
    """A workbench for one run, closed at its end."""
    bench = Workbench(lasting=False, team=team)
    try:
        yield bench
    finally:
        bench.close()
