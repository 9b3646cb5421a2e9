"""Sorts finished evaluations into groups: one member per recipe and update, with its seeds averaged."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.store.folder import refuse_other
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
    """Weights of one algorithm with one choice of training settings.

    Attributes:
        algorithm: Name of the algorithm.
        settings: All training settings except the seed.
        update: Number of updates done.
        folders: Evaluation folders of its seeds.
        label: The settings in which the members of its algorithm differ.
    """

    algorithm: str
    settings: dict[str, Any]
    update: int
    folders: list[Path] = field(default_factory=list)
    label: str = ""


@dataclass(frozen=True)
class Group:
    """Weights that may be compared: they share the evaluation setting and the origin.

    Attributes:
        setting: Setting that all evaluations share.
        origin: Evaluation folder of the origin, the weights from which all members were trained.
        origin_name: Algorithm of the origin; ``base`` for an untrained model.
        members: Trained weights.
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
        ConfigError: There is no group.
        CorruptCellError: A result differs from what was written.
    """
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    index = read_index(results, task).check()
    if not index.cells:
        refuse_other(results, task)
    for each in index.evaluations.values():
        by_setting[each.setting.key].append(each)
    made = [group for each in by_setting.values() for group in _by_origin(results, each)]
    if not made:
        raise ConfigError(
            f"no trained cell of {task} is evaluated together with the weights that it was trained from",
            where=str(results),
            do="run both first, with --eval-every for checkpoints",
        )
    return made


def _by_origin(results: Path, evaluations: Sequence[EvaluationEntry]) -> list[Group]:
    """Group cells by origin: cells with the same start share it; the origin of a start is the untrained model."""
    find = origins(evaluations)
    by_origin: dict[str, dict[tuple[str, int], Member]] = defaultdict(dict)
    found: dict[str, EvaluationEntry] = {}
    for each in evaluations:
        recipe = each.cell.recipe.value
        origin = find(each.cell)
        if origin is None or recipe["train"] is None or each.best:
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
    """Label each member with the settings in which it differs from the others of its algorithm."""
    for member, label in zip(members, labels([m.settings for m in members]), strict=True):
        member.label = label
    return sorted(members, key=lambda m: (m.algorithm, m.label, m.update))


def by_prompt(folders: list[Path], axes: FrontAxes) -> Any:
    """A frame of distance and value by prompt; repeats and seeds of one prompt are averaged.

    It has NaN for a prompt with a number that is missing or not finite.
    """
    import pandas as pd

    numbers = [axes.distance, axes.value]
    frame = pd.concat([checked_frame(f, [axes.unit, *numbers]) for f in folders])
    frame = frame.assign(whole=(frame[numbers].abs() < math.inf).all(axis=1))
    by_unit = frame.groupby(axes.unit)
    return by_unit[numbers].mean().where(by_unit["whole"].all()).sort_index()
