"""``shiqbench front``: from a results folder to tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.registry import registry
from shiqbench.report.front import view
from shiqbench.report.front.fronts import Fronts, make_fronts
from shiqbench.report.front.members import Group, groups

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.plugin.task import FrontAxes


@dataclass(frozen=True)
class Drawn:
    """The fronts of one setting.

    Attributes:
        group: Whose.
        fronts: Its fronts.
        axes: The task's.
        figure: Where the figure is; None without an output folder.
    """

    group: Group
    fronts: Fronts
    axes: FrontAxes
    figure: Path | None

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        where = None if self.figure is None else str(self.figure)
        return {"setting": self.group.setting, "digest": self.group.digest, "figure": where, **self.fronts.as_json()}

    def __str__(self) -> str:
        return view.as_text(self.group, self.fronts, self.axes)


def front(
    results: Path, task: str, *, baseline: str | None = None, output: Path | None = None, plugins: tuple[Path, ...] = ()
) -> list[Drawn]:
    """Fronts of every setting of a task in a results folder.

    Args:
        results: Where the cells are.
        task: Whose.
        baseline: Algorithm to compare the others with.
        output: Folder for figures and tables; nothing is written without one.
        plugins: Local plugin files.

    Raises:
        ConfigError: The task has no front, or there is no cell to draw.
    """
    axes: FrontAxes | None = registry(plugins).task(task).load().front
    if axes is None:
        raise ConfigError(f"{task} measures no distance from a reference", where="--task", do="take another task")
    found = []
    for group in groups(results, task):
        fronts = make_fronts(group, axes, baseline)
        figure = None
        if output is not None:
            figure = output / f"front-{task}-{group.setting['eval']['split']}-{group.digest}.svg"
            view.figure(fronts, axes, figure)
        found.append(Drawn(group, fronts, axes, figure))
    return found
