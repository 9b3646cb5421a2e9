"""Learning curves as svg: checkpoints on validation, and quantities measured by the training itself."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.report.estimates import over_seeds
from shiqbench.report.figures import COLOURS, save_svg
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import origins
from shiqbench.store.index.reading import checked_file
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shiqbench.plugin.task import Scores
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
        intervals: 95 % intervals by update, as in the tables; a quantity of the training has none.
    """

    name: str
    seeds: list[Points]
    intervals: dict[int, tuple[float, float]] = field(default_factory=dict)

    def mean(self) -> Points:
        """Means at the updates that all seeds have."""
        by_seed = [dict(points) for points in self.seeds]
        updates = sorted(set.intersection(*(set(points) for points in by_seed)))
        return [(u, fmean(points[u] for points in by_seed)) for u in updates]


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
    for setting, curves in _of_checkpoints(index, known).items():
        first = index.evaluations[setting]
        name = f"curve-{first.setting.value['task']}-{short(first.setting.key)}.svg"
        title = f"{first.setting.value['task']}, validation; bands: 95 % intervals, as in the tables"
        _draw(curves, first.primary["name"], title, folder / name, log=False)
        drawn.append(folder / name)
    for block in blocks:
        measured = known[block.task].training_curve
        if block.trials:
            continue
        curves = _of_training(index.results, block, measured[0]) if measured is not None else []
        if measured is not None and curves:
            name = f"training-{block.task}-{block.setting}.svg"
            _draw(curves, measured[1], f"{block.task}, during training; thin: each seed", folder / name, log=True)
            drawn.append(folder / name)
    return drawn


def _of_checkpoints(index: Index, known: Mapping[str, KnownTask]) -> dict[str, list[Line]]:
    """Curves by an evaluation of the setting: first the start, then the checkpoints, then the final weights."""
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in index.evaluations.values():
        by_setting[each.setting.key].append(each)
    found, book = {}, ScoreBook(index.results)
    for evaluations in by_setting.values():
        checkpoints = [e for e in evaluations if e.update is not None]
        if not checkpoints:
            continue
        find = origins(evaluations)
        final = {e.cell.folder: e for e in evaluations if e.update is None}
        points: dict[str, dict[int, EvaluationEntry]] = defaultdict(dict)
        for e in checkpoints:
            points[e.cell.folder][e.update or 0] = e
        for at, of_cell in points.items():
            cell = next(iter(of_cell.values())).cell
            origin = find(cell)
            if origin is not None:
                of_cell[0] = origin
            if at in final:
                of_cell[cell.budget["updates"]] = final[at]
        first = checkpoints[0]
        how = book.usable(evaluations, known[first.setting.value["task"]].scores_of(first.primary["name"]))
        cells = {e.cell.folder: e.cell for e in checkpoints}
        found[first.folder] = [
            _with_intervals(line, [points[cell.folder] for cell in of_line], how, book)
            for line, of_line in _curves(
                [(cells[at], [(u, p[u].primary["value"]) for u in sorted(p)]) for at, p in points.items()]
            )
        ]
    return found


def _with_intervals(
    line: Line, cells: Sequence[Mapping[int, EvaluationEntry]], how: Scores | None, book: ScoreBook
) -> Line:
    """The line with the intervals of a table; seeds that share an evaluation, such as the start's, count once."""
    intervals = {}
    for update, _ in line.mean():
        estimate = over_seeds(list({c[update].folder: c[update] for c in cells}.values()), how, book)
        if estimate.low is not None and estimate.high is not None:
            intervals[update] = (estimate.low, estimate.high)
    return replace(line, intervals=intervals)


def _of_training(results: Path, block: Block, key: str) -> list[Line]:
    found = []
    for row in block.rows:
        for e in row.evaluations:
            if e.cell.seconds is not None:
                lines = checked_file(results / e.cell.folder, "train.jsonl").decode().splitlines()
                logged = [json.loads(line) for line in lines]
                found.append((e.cell, [(line["update"], line[key]) for line in logged if key in line]))
    return [line for line, _ in _curves([(cell, points) for cell, points in found if points])]


def _curves(found: Sequence[tuple[CellEntry, Points]]) -> list[tuple[Line, list[CellEntry]]]:
    """One line per recipe, with its cells."""
    by_recipe: dict[str, list[tuple[CellEntry, Points]]] = defaultdict(list)
    for cell, points in found:
        by_recipe[cell.recipe.key].append((cell, points))
    groups = list(by_recipe.values())
    said = labels([g[0][0].recipe.value for g in groups])
    curves = [
        (Line(f"{g[0][0].algorithm} {label}".strip(), [p for _, p in g]), [c for c, _ in g])
        for g, label in zip(groups, said, strict=True)
    ]
    return sorted(curves, key=lambda c: c[0].name)


def _draw(curves: Sequence[Line], value: str, title: str, path: Path, *, log: bool) -> None:
    """Draw a line per row, with its intervals as a band, or else its seeds as thin lines.

    If colours run out, dashed lines reuse them.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.2, 4.2), layout="constrained")
    plane: Any = drawn.subplots()
    for number, curve in enumerate(curves):
        colour, dash = COLOURS[number % MOST], ("-", "--", ":", "-.")[number // MOST % 4]
        seeds = f" ({len(curve.seeds)} seeds)" if len(curve.seeds) > 1 else ""
        plane.plot(*zip(*curve.mean(), strict=True), dash, color=colour, linewidth=1.6, label=curve.name + seeds)
        if curve.intervals:
            lows, highs = zip(*curve.intervals.values(), strict=True)
            plane.fill_between(list(curve.intervals), lows, highs, color=colour, alpha=0.15, linewidth=0)
        for points in curve.seeds if seeds and not curve.intervals else []:
            plane.plot(*zip(*points, strict=True), dash, color=colour, linewidth=0.5, alpha=0.6)
    if log and all(m > 0 for c in curves for _, m in c.mean()):
        plane.set_yscale("log")
    plane.set_xlabel("updates")
    plane.set_ylabel(value)
    plane.set_title(title, loc="left", fontsize=10)
    plane.spines[["top", "right"]].set_visible(False)
    drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
    save_svg(drawn, path)
