"""Finished evaluations become members of groups: one per recipe and update, with its seeds averaged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.store.index import origins, read_index
from shiqbench.store.index.reading import checked_frame
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.plugin.task import FrontAxes
    from shiqbench.store.index import EvaluationEntry


@dataclass
class Member:
    """Weights of one algorithm under one setting of its own.

    Attributes:
        algorithm: Its name.
        settings: Everything about the training but the seed.
        update: Updates done.
        folders: The evaluations of its seeds.
        label: The settings in which the members of its algorithm differ.
    """

    algorithm: str
    settings: dict[str, Any]
    update: int
    folders: list[Path] = field(default_factory=list)
    label: str = ""


@dataclass(frozen=True)
class Group:
    """Weights that may be compared: same evaluation, same origin.

    Attributes:
        setting: What the evaluations share.
        origin: The evaluation of what all of them were trained from.
        origin_name: Its algorithm, ``base`` where that is an untrained model.
        members: Of trained weights.
    """

    setting: dict[str, Any]
    origin: Path
    origin_name: str
    members: tuple[Member, ...]

    @property
    def digest(self) -> str:
        """First digits of the setting's digest."""
        return short(digest(self.setting))


def groups(results: Path, task: str) -> list[Group]:
    """Every group of a results folder.

    Raises:
        ConfigError: There is none.
        CorruptCellError: A result is not what was written.
    """
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in read_index(results, task).check().evaluations.values():
        by_setting[each.setting.key].append(each)
    made = [group for each in by_setting.values() for group in _by_origin(results, each)]
    if not made:
        raise ConfigError(
            f"no trained cell of {task} is evaluated beside what it was trained from",
            where=str(results),
            do="run some first, with --eval-every for checkpoints",
        )
    return made


def _by_origin(results: Path, evaluations: Sequence[EvaluationEntry]) -> list[Group]:
    """Cells with one start share an origin; the start's own row has the untrained model for one."""
    find = origins(evaluations)
    by_origin: dict[str, dict[tuple[str, int], Member]] = defaultdict(dict)
    found: dict[str, EvaluationEntry] = {}
    for each in evaluations:
        recipe = each.cell.recipe.value
        origin = find(each.cell)
        if origin is None or recipe["train"] is None:
            continue
        found[origin.folder] = origin
        at = each.cell.budget["updates"] if each.update is None else each.update
        members = by_origin[origin.folder]
        member = members.setdefault((each.cell.recipe.key, at), Member(each.cell.algorithm, recipe, at))
        member.folders.append(results / each.folder)
    return [
        Group(
            origin.setting.value,
            results / origin.folder,
            origin.cell.algorithm,
            tuple(_labelled(list(by_origin[folder].values()))),
        )
        for folder, origin in found.items()
    ]


def _labelled(members: list[Member]) -> list[Member]:
    """Say of each what sets it apart from the others of its algorithm."""
    for member, label in zip(members, labels([m.settings for m in members]), strict=True):
        member.label = label
    return sorted(members, key=lambda m: (m.algorithm, m.label, m.update))


def by_prompt(folders: list[Path], axes: FrontAxes) -> Any:
    """A frame of distance and value by prompt: repeats and seeds of one prompt averaged."""
    import pandas as pd

    names = [axes.unit, axes.distance, axes.value]
    frame = pd.concat([checked_frame(f, names) for f in folders])
    return frame.dropna().groupby(axes.unit)[[axes.distance, axes.value]].mean().sort_index()
