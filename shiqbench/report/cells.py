"""Names of columns and text of cells that every format can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


def one_line(text: str) -> str:
    r"""The text with a line break as ``\n``, and other characters that do not print as their code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unique(names: Iterable[str]) -> list[str]:
    """The names in one line each, numbered where two would be equal: ``p``, ``p (2)``."""
    found: dict[str, None] = {}
    for name in names:
        plain = " ".join(one_line(name).split())
        number, free = 1, plain
        while free in found:
            number += 1
            free = f"{plain} ({number})"
        found[free] = None
    return list(found)


def text_frame(head: Iterable[str], rows: Sequence[Sequence[str]]) -> pd.DataFrame:
    """A frame with columns that all have different names, without those in which no row has anything."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=pd.Index(unique(head)))
    return frame.loc[:, [i == 0 or bool((frame.iloc[:, i] != "-").any()) for i in range(frame.shape[1])]]


def showable(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with columns that all have different names, and cells of one line."""
    return frame.set_axis(unique(map(str, frame.columns)), axis="columns").map(lambda cell: one_line(str(cell)))
