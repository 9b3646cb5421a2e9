"""Finished evaluations become points: one per algorithm, settings and update, with the seeds of one averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.cell import is_done
from shiqbench.digest import canonical_json, digest, short
from shiqbench.errors import ConfigError
from shiqbench.files import read_json
from shiqbench.table import brief, flatten

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.task import FrontAxes

NOT_SETTING = ("schema", "train", "update")  # of an evaluation's recipe


@dataclass
class Point:
    """Weights of one algorithm under one setting of its own.

    Attributes:
        algorithm: Its name.
        settings: Everything about the training but the seed.
        update: Updates done.
        folders: The evaluations of its seeds.
        label: The settings in which the points of its algorithm differ.
    """

    algorithm: str
    settings: dict[str, Any]
    update: int
    folders: list[Path] = field(default_factory=list)
    label: str = ""


@dataclass(frozen=True)
class Group:
    """Points that may be compared: same evaluation, same origin.

    Attributes:
        setting: What the evaluations share.
        origin: The evaluation of what all of them were trained from.
        origin_name: Its algorithm, ``base`` where that is an untrained model.
        points: Of trained weights.
    """

    setting: dict[str, Any]
    origin: Path
    origin_name: str
    points: tuple[Point, ...]

    @property
    def digest(self) -> str:
        """First digits of the setting's digest."""
        return short(digest(self.setting))


def groups(results: Path, task: str) -> list[Group]:
    """Every group of a results folder.

    Raises:
        ConfigError: There is none.
        CorruptCellError: An evaluation is not what was written.
    """
    cells: dict[Path, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for config in sorted((results / task).glob("*/*/eval/*/config.json")):
        evaluation, cell = config.parent, config.parents[2]
        if not (is_done(evaluation) and is_done(cell)):
            continue
        recipe = read_json(config)
        cells[cell] = cells.get(cell) or read_json(cell / "config.json")
        setting = {k: v for k, v in recipe.items() if k not in NOT_SETTING}
        of_setting = found.setdefault(canonical_json(setting), {"setting": setting, "evaluations": []})
        of_setting["evaluations"].append((evaluation, cell, recipe.get("update")))
    made = [group for each in found.values() for group in _by_origin(each["setting"], each["evaluations"], cells)]
    if not made:
        raise ConfigError(
            f"no trained cell of {task} is evaluated beside what it was trained from",
            where=str(results),
            do="run some first, with --eval-every for checkpoints",
        )
    return made


def _by_origin(setting: dict[str, Any], evaluations: list[Any], cells: dict[Path, dict[str, Any]]) -> list[Group]:
    """Cells with one start share an origin; the start's own row has the untrained model for one."""
    final = {cell: evaluation for evaluation, cell, update in evaluations if update is None}
    made = []
    for model in {canonical_json(r["model"]): r["model"] for r in cells.values()}.values():
        origin = _origin(model, final, cells)
        members: dict[str, Point] = {}
        for evaluation, cell, update in evaluations:
            recipe = cells[cell]
            if origin is None or recipe["train"] is None or recipe["model"] != model:
                continue
            settings = {k: v for k, v in recipe.items() if k != "seed"}
            at = read_json(cell / "manifest.json")["budget"]["updates"] if update is None else update
            key = canonical_json({**settings, "update": at})
            point = members.setdefault(key, Point(recipe["algorithm"]["name"], settings, at))
            point.folders.append(evaluation)
        if origin is not None and members:
            name = cells[origin]["algorithm"]["name"]
            made.append(Group(setting, final[origin], name, tuple(_labelled(list(members.values())))))
    return made


def _origin(model: dict[str, Any], final: dict[Path, Path], cells: dict[Path, dict[str, Any]]) -> Path | None:
    """The evaluated cell that has the weights from which ``model`` says training started."""
    for cell in final:
        recipe = cells[cell]
        untrained = recipe["train"] is None and recipe["model"] == model
        if untrained or model == {"cell": digest(recipe)}:
            return cell
    return None


def _labelled(points: list[Point]) -> list[Point]:
    """Say of each what sets it apart from the others of its algorithm."""
    flat = [flatten({k: p.settings[k] for k in ("algorithm", "task", "train", "plugins")}) for p in points]
    for point, mine in zip(points, flat, strict=True):
        peers = [f for p, f in zip(points, flat, strict=True) if p.algorithm == point.algorithm]
        keys = [k for k in sorted(mine) if any(canonical_json(f.get(k)) != canonical_json(mine[k]) for f in peers)]
        point.label = " ".join(f"{k.rpartition('.')[2]}={brief(mine[k])}" for k in keys)
    return sorted(points, key=lambda p: (p.algorithm, p.label, p.update))


def by_prompt(folders: list[Path], axes: FrontAxes) -> Any:
    """A frame of distance and value by prompt: repeats and seeds of one prompt averaged."""
    import pandas as pd

    names = [axes.unit, axes.distance, axes.value]
    frame = pd.concat([pd.read_parquet(f / "records.parquet", columns=names) for f in folders])
    return frame.dropna().groupby(axes.unit)[[axes.distance, axes.value]].mean().sort_index()
