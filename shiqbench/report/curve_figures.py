"""Learning curves as svg."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.report.curves import of_training
from shiqbench.report.figures import COLOURS, DISTINCT, save_svg
from shiqbench.report.logs import AXES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shiqbench.report.curves import Curves, Line, Point
    from shiqbench.report.known import KnownTask
    from shiqbench.report.logs import LogBook
    from shiqbench.report.rows import Block

# Inches.
PLOT_WIDTH, LEAST_HEIGHT, LINE_HEIGHT, LETTER = 4.6, 3.4, 0.16, 0.066
MARGIN = {"left": 0.75, "right": 0.3, "bottom": 0.5, "top": 0.35}


def draw_curves(
    curves: Sequence[Curves],
    blocks: Sequence[Block],
    known: Mapping[str, KnownTask],
    logs: LogBook,
    folder: Path,
    axis: str = "updates",
) -> tuple[list[Path], list[str]]:
    """Draw one figure per setting with checkpoints, and one per block whose task names a quantity of training.

    Args:
        curves: Curves over checkpoints.
        blocks: Blocks of the report.
        known: Known facts about each task.
        logs: Reads ``train.jsonl``.
        folder: Folder for the figures.
        axis: ``updates``, ``tokens`` or ``seconds``.

    Returns:
        The files of the figures, and notes about what they do not show.
    """
    drawn, notes = [], []
    for each in curves:
        task, metric = each.first.task, each.first.primary["name"]
        title = f"{task}, validation; bands: 95 % intervals, as in the tables"
        path = folder / f"curve-{task}-{short(each.first.setting.key)}.svg"
        sign = -1 if each.first.primary["higher_is_better"] else 1
        shown = [line for line in each.lines if line.mean()]
        lines = sorted(shown, key=lambda line: (sign * line.mean()[-1].value, line.name))
        if lines:
            notes += _draw(lines, metric, title, path, axis=axis, log=False)
            drawn.append(path)
    for block in blocks:
        measured = known[block.task].training_curve
        lines = of_training(block, measured[0], logs, axis) if measured is not None else []
        if measured is not None and lines:
            path = folder / f"training-{block.task}-{block.setting}.svg"
            title = f"{block.task}, during training; thin: each seed"
            notes += _draw(lines, measured[1], title, path, axis=axis, log=True)
            drawn.append(path)
    return drawn, notes


def _short_names(lines: Sequence[Line], *, seeds: bool) -> list[str]:
    """The names without settings that all lines share, and numbers of seeds if these are told here."""
    common = set.intersection(*(set(line.label.split()) for line in lines))
    found = []
    for line in lines:
        words = [line.algorithm, *(w for w in line.label.split() if w not in common)]
        found.append(" ".join(words) + (f" ({len(line.seeds)} seeds)" if seeds and len(line.seeds) > 1 else ""))
    return found


def _draw(best_first: Sequence[Line], value: str, title: str, path: Path, *, axis: str, log: bool) -> list[str]:
    """Draw a line per row, with its intervals as a band, or else its seeds as thin lines.

    Returns:
        A note about the rows that are left out, because colours cannot distinguish more.
    """
    from matplotlib.figure import Figure

    lines = sorted(best_first[:DISTINCT], key=lambda line: line.name)
    numbers = {len(line.seeds) for line in lines}
    names = _short_names(lines, seeds=len(numbers) > 1)
    height = max(LEAST_HEIGHT, LINE_HEIGHT * len(names))
    right = LETTER * max(map(len, names)) + MARGIN["right"]
    width, tall = MARGIN["left"] + PLOT_WIDTH + right, MARGIN["bottom"] + height + MARGIN["top"]
    drawn = Figure(figsize=(width, tall))
    plane: Any = drawn.add_axes((MARGIN["left"] / width, MARGIN["bottom"] / tall, PLOT_WIDTH / width, height / tall))
    for curve, colour in zip(lines, COLOURS, strict=False):
        seeds, mean = len(curve.seeds) > 1, curve.mean()
        plane.plot([p.x for p in mean], [p.value for p in mean], color=colour, linewidth=1.6)
        if curve.intervals:
            at = [p.x for p in mean if p.update in curve.intervals]
            lows, highs = zip(*(curve.intervals[p.update] for p in mean if p.update in curve.intervals), strict=True)
            plane.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
        for points in curve.seeds if seeds and not curve.intervals else []:
            plane.plot([p.x for p in points], [p.value for p in points], color=colour, linewidth=0.5, alpha=0.6)
    if log and all(p.value > 0 for line in lines for p in line.mean()):
        plane.set_yscale("log")
    ends = [next((p for p in reversed(line.mean()) if isfinite(p.value)), None) for line in lines]
    name_ends(plane, ends, names, LINE_HEIGHT / height)
    left_out = len(best_first) - len(lines)
    if len(numbers) == 1 and numbers != {1}:
        title += f"; {numbers.pop()} seeds"
    if left_out:
        title += f"; the best {len(lines)} of {len(best_first)} rows"
    plane.set_xlabel(AXES[axis])
    plane.set_ylabel(value)
    plane.set_title(title, loc="left", fontsize=10)
    plane.spines[["top", "right"]].set_visible(False)
    save_svg(drawn, path)
    said = f"{path.name} shows the best {len(lines)} of {len(best_first)} rows: colours cannot distinguish more"
    return [said] if left_out else []


def name_ends(plane: Any, ends: Sequence[Point | None], names: Sequence[str], least: float) -> None:
    """Write each line's name to the right of its end; names that would overlap move apart by as little as possible.

    Args:
        plane: Axes with all lines.
        ends: Last point of each line; None if it has none, and then its name is at the top.
        names: Name of each line.
        least: Distance between two names, as a share of the height.
    """
    from scipy.optimize import isotonic_regression

    into_axes = plane.transData + plane.transAxes.inverted()
    heights = [1.0 if end is None else float(into_axes.transform((end.x, end.value))[1]) for end in ends]
    order = sorted(range(len(ends)), key=lambda i: (heights[i], i))
    steps = [least * rank for rank in range(len(order))]
    near = isotonic_regression([heights[i] - step for i, step in zip(order, steps, strict=True)]).x
    room = 1 - steps[-1]
    for i, free, step in zip(order, near, steps, strict=True):
        end, at = ends[i], (1.03, min(max(float(free), 0.0), room) + step)
        line = {"arrowstyle": "-", "color": COLOURS[i], "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0}
        plane.annotate(
            names[i],
            at if end is None else (end.x, end.value),
            at,
            xycoords="axes fraction" if end is None else "data",
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops=None if end is None else line,
            annotation_clip=False,
        )
