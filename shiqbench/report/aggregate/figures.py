"""Figures over tasks: performance profiles, and the critical-difference diagram of mean ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shiqbench.report.figures import COLOURS, DISTINCT, save_svg
from shiqbench.stats.aggregate import profile

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.report.aggregate.scores import Aggregate
    from shiqbench.stats.ranks import Ranks

LEGEND_INCH, LABEL_INCH = 0.075, 0.1  # width of a letter in a legend and in a label
STEPS = 201  # thresholds of a profile


def draw_aggregate(of: Aggregate, folder: Path) -> list[Path]:
    """Draw the performance profiles, and, if ranks are tested, the critical-difference diagram.

    Args:
        of: Normalised scores over tasks, with rows.
        folder: Folder for the figures.

    Returns:
        The files of the figures.
    """
    drawn = [folder / "profiles.svg"]
    _profiles(of, drawn[0])
    if of.test is not None:
        drawn.append(folder / "ranks.svg")
        _ranks(of, of.test, drawn[1])
    return drawn


def _profiles(of: Aggregate, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [n for n in of.names if of.trained(n)]
    drawn = Figure(figsize=(6 + max(map(len, names), default=0) * LEGEND_INCH, 4.2), layout="constrained")
    plane: Any = drawn.subplots()
    every = np.concatenate([of.scores[n].ravel() for n in names] or [np.zeros(1)])
    thresholds = np.linspace(min(0.0, every.min()), max(1.0, every.max()), STEPS)
    for number, name in enumerate(names):
        colour, dash = COLOURS[number % DISTINCT], ("-", "--", ":", "-.")[number // DISTINCT % 4]
        share, low, high = profile(of.scores[name], thresholds)
        plane.step(thresholds, share, dash, where="post", color=colour, linewidth=1.6, label=name)
        if len(names) <= DISTINCT:
            plane.fill_between(thresholds, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
    plane.set_xlabel("normalised score (0: untrained, 1: top)")
    plane.set_ylabel("share of seeds above it")
    bands = "bands: 95 % over seeds, cautious" if len(names) <= DISTINCT else f"no bands: more than {DISTINCT} rows"
    drawn.suptitle(f"Performance profiles, {len(of.tasks)} tasks; {bands}", x=0.01, ha="left", fontsize=10)
    plane.spines[["top", "right"]].set_visible(False)
    drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
    save_svg(drawn, path)


def _ranks(of: Aggregate, test: Ranks, path: Path) -> None:
    import pandas as pd
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram

    width = 4 + 2 * max(map(len, of.names)) * LABEL_INCH
    drawn = Figure(figsize=(width, 1.2 + 0.25 * len(of.names)), layout="constrained")
    plane: Any = drawn.subplots()
    names = pd.Index(list(of.names))
    colours = (list(COLOURS) * (len(names) // len(COLOURS) + 1))[: len(names)]
    means = dict(zip(of.names, of.ranks.mean(axis=1).tolist(), strict=True))
    critical_difference_diagram(
        means, pd.DataFrame(test.pairs, index=names, columns=names), ax=plane, color_palette=colours
    )
    title = f"Mean rank over {len(of.tasks)} tasks, 1 is the best\nJoined rows do not differ (Nemenyi, 5 %)"
    drawn.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_svg(drawn, path)
