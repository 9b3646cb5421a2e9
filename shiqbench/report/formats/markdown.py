"""A report as markdown, for a page or a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shiqbench.report.cells import one_line
from shiqbench.report.tables import text_tables

if TYPE_CHECKING:
    import pandas as pd

    from shiqbench.report.rows import Report

_PAIRS = {  # what opens or closes markup; it needs a partner in the same text
    "*": r"\*(?! )|(?<! )\*",
    "_": r"(?<!\w)_|_(?!\w)",
    "~": "~",
    "`": "`",
    "$": r"\$",
}
_BEGINNINGS = (
    r"\\(?=[!-/:-@\[-`{-~])",  # an escape
    r"<(?=[A-Za-z/!?])",  # a tag
    r"&(?=#?\w+;)",  # an entity
    r"\[(?=[^\[\]]*\][(\[:])",  # a link
)


def markdown(report: Report) -> str:
    """The report in markdown."""
    parts = []
    for title, frame, notes, above in text_tables(report):
        lines = [f"## {escaped(title)}", "", *(f"**{escaped(line)}**\n" for line in above), markdown_table(frame)]
        parts.append("\n".join([*lines, *[""] * bool(notes), *map(_item, notes)]))
    return "\n\n".join([*parts, *map(_item, report.notes)]) + "\n"


def markdown_table(frame: pd.DataFrame) -> str:
    """A markdown table with padded columns, so that the raw text is readable too."""
    rows = [[escaped(c).replace("|", "\\|") for c in row] for row in (frame.columns, *frame.to_numpy())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def escaped(text: str) -> str:
    """Text with a backslash where markdown would read markup; plain names and numbers are unchanged."""
    text = one_line(text)
    wanted = [*_BEGINNINGS, *(found for found in _PAIRS.values() if len(re.findall(found, text)) > 1)]
    return re.sub("|".join(wanted), lambda match: "\\" + match[0], text)


def _item(note: str) -> str:
    """A note as an item of a list; its first characters begin no list or heading of their own."""
    return "- " + re.sub(r"^(\d*)(?=>|[-+*#=_.)][-+*#=_ ]*( |$))(.)", r"\1\\\3", escaped(note.strip(" ")))
