"""Learning curves as svg: checkpoints on validation, and quantities measured by the training itself."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.report.figures import COLOURS, save_svg
from shiqbench.stats.intervals import student
from shiqbench.store.index import origins
from shiqbench.store.index.reading import checked_file
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shiqbench.report.known import KnownTask
    from shiqbench.report.rows import Block
    from shiqbench.store.index import CellEntry, EvaluationEntry, Index

Points = list[tuple[int, float]]  # updates, value
MOST = len(COLOURS) // 4  # lines that colours can distinguish


@dataclass(frozen=True)
class Line:
    """The learning curves of a row.

    Attributes:
        name: Algorithm and label.
        seeds: The curve of each seed.
    """

    name: str
    seeds: list[Points]

    def mean(self) -> tuple[list[int], list[float], list[tuple[float, float]]]:
        """Updates that all seeds have, means, and Student's intervals over seeds; no intervals with one seed."""
        by_seed = [dict(points) for points in self.seeds]
        updates = sorted(set.intersection(*(set(points) for points in by_seed)))
        values = [[points[u] for points in by_seed] for u in updates]
        return updates, [fmean(v) for v in values], [student(v) for v in values] if len(by_seed) > 1 else []


def draw_curves(index: Index, blocks: Sequence[Block], known: Mapping[str, KnownTask], folder: Path) -> list[Path]:
    """Draw one figure per setting with checkpoints, and one per block whose task names a quantity of training.

    Args:
        index: Index of the results.
        blocks: Blocks of the report.
        known: Known facts about each task.
        folder: Folder for the figures.

    Returns:
        The files of the figures.

    Raises:
        CorruptCellError: A train.jsonl differs from what was written.
    """
    drawn = []
    for setting, curves in _of_checkpoints(index).items():
        first = index.evaluations[setting]
        name = f"curve-{first.setting.value['task']}-{short(first.setting.key)}.svg"
        _draw(curves, first.primary["name"], f"{first.setting.value['task']}, validation", folder / name, log=False)
        drawn.append(folder / name)
    for block in blocks:
        measured = known[block.task].training_curve
        curves = _of_training(index.results, block, measured[0]) if measured is not None else []
        if measured is not None and curves:
            name = f"training-{block.task}-{block.setting}.svg"
            _draw(curves, measured[1], f"{block.task}, during training", folder / name, log=True)
            drawn.append(folder / name)
    return drawn


def _of_checkpoints(index: Index) -> dict[str, list[Line]]:
    """Curves by an evaluation of the setting: first the start, then the checkpoints, then the final weights."""
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in index.evaluations.values():
        by_setting[each.setting.key].append(each)
    found = {}
    for evaluations in by_setting.values():
        checkpoints = [e for e in evaluations if e.update is not None]
        if not checkpoints:
            continue
        find = origins(evaluations)
        final = {e.cell.folder: e for e in evaluations if e.update is None}
        points: dict[str, Points] = defaultdict(list)
        cells: dict[str, CellEntry] = {}
        for e in checkpoints:
            cells[e.cell.folder] = e.cell
            points[e.cell.folder].append((e.update or 0, e.primary["value"]))
        for at, cell in cells.items():
            origin = find(cell)
            if origin is not None:
                points[at].append((0, origin.primary["value"]))
            if at in final:
                points[at].append((cell.budget["updates"], final[at].primary["value"]))
        found[checkpoints[0].folder] = _curves([(cells[at], sorted(p)) for at, p in points.items()])
    return found


def _of_training(results: Path, block: Block, key: str) -> list[Line]:
    found = []
    for row in block.rows:
        for e in row.evaluations:
            if e.cell.seconds is not None:
                lines = checked_file(results / e.cell.folder, "train.jsonl").decode().splitlines()
                logged = [json.loads(line) for line in lines]
                found.append((e.cell, [(line["update"], line[key]) for line in logged if key in line]))
    return _curves([(cell, points) for cell, points in found if points])


def _curves(found: Sequence[tuple[CellEntry, Points]]) -> list[Line]:
    """One line per recipe."""
    by_recipe: dict[str, list[tuple[CellEntry, Points]]] = defaultdict(list)
    for cell, points in found:
        by_recipe[cell.recipe.key].append((cell, points))
    groups = list(by_recipe.values())
    said = labels([g[0][0].recipe.value for g in groups])
    curves = [
        Line(f"{g[0][0].algorithm} {label}".strip(), [p for _, p in g]) for g, label in zip(groups, said, strict=True)
    ]
    return sorted(curves, key=lambda c: c.name)


def _draw(curves: Sequence[Line], value: str, title: str, path: Path, *, log: bool) -> None:
    """Draw a line per row, and the interval over its seeds as a band; if colours run out, dashed lines reuse them."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.2, 4.2), layout="constrained")
    plane: Any = drawn.subplots()
    for number, curve in enumerate(curves):
        colour, dash = COLOURS[number % MOST], ("-", "--", ":", "-.")[number // MOST % 4]
        updates, means, bands = curve.mean()
        seeds = f" ({len(curve.seeds)} seeds)" if len(curve.seeds) > 1 else ""
        plane.plot(updates, means, dash, color=colour, linewidth=1.6, label=curve.name + seeds)
        if bands:
            lows, highs = zip(*bands, strict=True)
            # A logarithmic axis cannot show a lower end at or below zero: there the band ends at the mean.
            shown = [low if low > 0 or not log else m for low, m in zip(lows, means, strict=True)]
            plane.fill_between(updates, shown, highs, color=colour, alpha=0.15, linewidth=0)
    if log and all(m > 0 for c in curves for m in c.mean()[1]):
        plane.set_yscale("log")
    plane.set_xlabel("updates")
    plane.set_ylabel(value)
    plane.set_title(title, loc="left", fontsize=10)
    plane.spines[["top", "right"]].set_visible(False)
    drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
    save_svg(drawn, path)
