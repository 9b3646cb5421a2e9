"""Common to all figures: colours that colour-blind readers can distinguish, and equal svg files for equal data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

# Okabe and Ito's eight colours without yellow, then dark shades of them.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#004B75", "#8A3D00", "#00614A",
    "#7D4A67", "#946600", "#3A7796", "#777777",
)  # fmt: skip
DISTINCT = len(_COLOURS)  # lines that colours can distinguish
COLOURS = _COLOURS * 4
MARKERS = ("o", "s", "^", "D", "v", "P", "X") * 8


def save_svg(figure: Any, path: Path) -> None:
    """Write a figure completely or not at all, without date and random names: equal data give equal bytes."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "shiqbench", "svg.fonttype": "none"}), replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
