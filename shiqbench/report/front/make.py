"""``shiqbench front``: turns a results folder into tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.registry import registry
from shiqbench.report.front import view
from shiqbench.report.front.fronts import Fronts, make_fronts
from shiqbench.report.front.members import Group, groups
from shiqbench.store.folder import results_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.task import FrontAxes


@dataclass(frozen=True)
class Drawn:
    """The fronts of one setting.

    Attributes:
        group: Group of weights that the fronts compare.
        fronts: Fronts of the group.
        axes: Axes of the task.
        figure: File of the figure; None without an output folder.
    """

    group: Group
    fronts: Fronts
    axes: FrontAxes
    figure: Path | None

    def as_json(self) -> dict[str, Any]:
        """The fronts, their setting and their figure as JSON values."""
        where = None if self.figure is None else str(self.figure)
        return {"setting": self.group.setting, "digest": self.group.digest, "figure": where, **self.fronts.as_json()}

    def __str__(self) -> str:
        return view.as_text(self.group, self.fronts, self.axes)


def front(
    results: str | Path,
    task: str | None = None,
    *,
    baseline: str | None = None,
    output: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> list[Drawn]:
    """Make the fronts of every setting of a task in a results folder.

    Args:
        results: Results folder.
        task: Name of the task; if left out, the one in the folder that measures a distance.
        baseline: Algorithm to compare the others with.
        output: Folder for figures; None writes nothing.
        plugins: Local plugin files.

    Raises:
        ConfigError: The task has no front, several tasks have one and none is named, or there is no cell to draw.
    """
    results = results_folder(results)
    known = registry(tuple(map(Path, plugins)))
    task = task or _only_task(results, known)
    axes: FrontAxes | None = known.task(task).load().front
    if axes is None:
        raise ConfigError(f"{task} measures no distance from a reference", where="--task", do="choose another task")
    found = []
    for group in groups(results, task):
        fronts = make_fronts(group, axes, baseline)
        figure = None
        if output is not None:
            start = group.origin.parent.parent.name  # groups of one setting differ in their origin
            figure = Path(output) / f"front-{task}-{group.setting['eval']['split']}-{group.digest}-{start}.svg"
            view.figure(fronts, axes, figure)
        found.append(Drawn(group, fronts, axes, figure))
    return found


def _only_task(results: Path, known: Registry) -> str:
    """The task of a results folder that measures a distance from a reference."""
    there = [folder.name for folder in sorted(results.iterdir()) if folder.name in known.tasks]
    found = [name for name in there if known.task(name).load().front is not None]
    if len(found) != 1:
        what = f"{len(found)} of its tasks measure a distance from a reference"
        do = f"--task {' or '.join(found)}" if found else "give a folder with cells of ultrafeedback or episodes"
        raise ConfigError(what, where=str(results), do=do)
    return found[0]
