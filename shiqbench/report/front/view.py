"""Fronts as a frame, as text and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.words import counted
from shiqbench.report.figures import COLOURS, MARKERS, save_svg
from shiqbench.report.formats.markdown import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from shiqbench.plugin.task import FrontAxes
    from shiqbench.report.estimates import Estimate
    from shiqbench.report.front.fronts import Fronts
    from shiqbench.report.front.members import Group

HEAD = ("algorithm", "points", "on the front", "mean gain [95 %]", "best value [95 %]", "at distance [95 %]")


def as_frame(fronts: Fronts) -> pd.DataFrame:
    """A frame with one line per algorithm."""
    import pandas as pd

    versus = [] if fronts.baseline is None else [f"less {fronts.baseline}'s [95 %]"]
    found = []
    for front in fronts.fronts:
        against = [] if fronts.baseline is None else [str(front.against or "-")]
        counts = [front.algorithm, str(front.points), str(front.on_front)]
        found.append([*counts, *map(str, (front.gain, front.best, front.best_distance)), *against])
    return pd.DataFrame(found, columns=pd.Index([*HEAD, *versus]))


def title(group: Group, fronts: Fronts, axes: FrontAxes) -> str:
    """The properties that all points share, and the definition of the gain."""
    evaluation = group.setting["eval"]
    return (
        f"{group.setting['task']} on {evaluation['split']}, {group.setting['engine']}, setting {group.digest}: "
        f"{axes.value_name} against {axes.distance_name}; from {fronts.origin_name} with {fronts.origin}; "
        f"gain averaged over distances up to {fronts.farthest:.3f}; {counted(fronts.prompts, 'prompt')}, "
        "each front chosen on one half and measured on the other; seeds as they are"
        + ("" if fronts.origin.low is not None else ", too few for intervals")
    )


def as_text(group: Group, fronts: Fronts, axes: FrontAxes) -> str:
    """Title, table and notes in markdown."""
    notes = "".join(f"\n- {n}" for n in fronts.notes)
    return f"{title(group, fronts, axes)}.\n\n{markdown_table(as_frame(fronts))}" + (f"\n{notes}" if notes else "")


def figure(fronts: Fronts, axes: FrontAxes, path: Path) -> None:
    """Points with their intervals, one front per algorithm, the origin as a star."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.2, 4.2), layout="constrained")
    plane: Any = drawn.subplots()
    reach = max(p.distance.value for p in fronts.points) * 1.06
    plane.axhline(fronts.origin.value, color="0.75", linewidth=0.8, zorder=0)
    for name, colour, marker in zip(sorted({p.algorithm for p in fronts.points}), COLOURS, MARKERS, strict=False):
        mine = [p for p in fronts.points if p.algorithm == name]
        for p in mine:
            plane.errorbar(
                p.distance.value, p.value.value, xerr=_arms(p.distance), yerr=_arms(p.value), color=colour,
                fmt=marker, markersize=5, markerfacecolor=colour if p.front else "white", linewidth=0.7, alpha=0.85,
            )  # fmt: skip
        best = sorted((p for p in mine if p.front), key=lambda p: p.distance.value)
        xs = [0.0, *(p.distance.value for p in best), reach]
        ys = [fronts.origin.value, *(p.value.value for p in best)]
        plane.plot(xs, [*ys, ys[-1]], color=colour, linewidth=1.6, label=name)
    plane.plot(0, fronts.origin.value, "*", color="black", markersize=11, label=fronts.origin_name, zorder=5)
    plane.set_xlim(left=-0.02 * reach)
    plane.set_xlabel(axes.distance_name)
    plane.set_ylabel(axes.value_name)
    plane.spines[["top", "right"]].set_visible(False)
    drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
    save_svg(drawn, path)


def _arms(estimate: Estimate) -> Any:
    if estimate.low is None or estimate.high is None:
        return None
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]
