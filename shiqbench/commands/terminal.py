"""Markdown on a terminal: no cell is cut off; columns that do not fit are left out of a table and named below it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from rich import box
from rich.cells import cell_len
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

NAMES = ("algorithm", "differs in", "task")  # with the first column, these name a row
MAIN = ("p", "p (Holm)")  # next to every column of estimates
ESTIMATE = re.compile(r"(\S+) (\[.+\])")
NARROW = 22  # characters that are left of a long text, which is then broken into lines
BETWEEN = 2  # characters from one column to the next


class FittingTable(TableElement):
    """A markdown table with the columns that fit the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the columns that fit, and name the others below."""
        texts = [c.content for c in self.header.row.cells] if self.header and self.header.row else []
        rows = [[c.content for c in row.cells] for row in self.body.rows] if self.body else []
        columns = [[head.plain, *(row[i].plain for row in rows)] for i, head in enumerate(texts)]
        widths, stacked = fitting(columns, options.max_width - 2)
        table = Table(box=box.SIMPLE, pad_edge=False, style="markdown.table.border", collapse_padding=True)
        for i, width in widths.items():
            name = texts[i].plain
            heading = name if cell_len(name) <= width else name.replace(" [", "\n[")
            table.add_column(Text(heading, "markdown.table.header", overflow="fold"), width=width, overflow="fold")
        for row in rows:
            table.add_row(*(_shown(row[i], stacked) for i in widths))
        yield table
        if left := [head.plain for i, head in enumerate(texts) if i not in widths]:
            more = f"{len(left)} more column{'s' * (len(left) > 1)}: {', '.join(left)}"
            yield Text(f"{more}; a wider terminal or a pipe shows them", style="italic")


class FittingMarkdown(Markdown):
    """Markdown whose tables fit the terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "table_open": FittingTable}


def fitting(columns: Sequence[Sequence[str]], room: int) -> tuple[dict[int, int], bool]:
    """Choose the columns of a table: those that name a row first, then values, differences and p, then the others.

    Args:
        columns: Heading and cells of each column.
        room: Characters that a line has.

    Returns:
        The columns that fit, in their order, with their widths, and whether intervals are below their values.
    """
    order = sorted(range(len(columns)), key=lambda i: _rank(i, columns[i]))
    main = [i for i in order if _rank(i, columns[i]) < 2]
    least = [_least(c, False) for c in columns]
    stacked = _total(least[i] for i in main) > room
    if stacked:
        least = [_least(c, True) for c in columns]
    kept = order[:1]
    for i in order[1:]:
        if _total(least[k] for k in (*kept, i)) > room:
            break
        kept.append(i)
    widths = {i: least[i] for i in kept}
    for i in kept:  # what is left gives long texts and headings one line
        spare = room - _total(widths.values())
        widths[i] += max(0, min(spare, max(map(cell_len, _texts(columns[i], stacked))) - widths[i]))
    return dict(sorted(widths.items())), stacked


def _rank(number: int, column: Sequence[str]) -> int:
    if number == 0 or column[0] in NAMES:
        return 0
    return 1 if column[0] in MAIN or any(map(ESTIMATE.fullmatch, column)) else 2


def _least(column: Sequence[str], stacked: bool) -> int:
    """The width that cuts no number: a heading is broken between words, a long text anywhere."""
    head, *cells = _texts(column, stacked)
    whole = [NARROW if cell_len(c) > NARROW and not ESTIMATE.fullmatch(c) else cell_len(c) for c in cells]
    return max(*map(cell_len, re.split(" (?!%)", head)), *whole, 1)


def _texts(column: Sequence[str], stacked: bool) -> list[str]:
    """Heading and cells; if stacked, of each estimate the longer of its lines."""
    return [max(_stacked(text).split("\n"), key=cell_len) if stacked else text for text in column]


def _stacked(text: str) -> str:
    return ESTIMATE.sub(r"\1\n\2", text) if ESTIMATE.fullmatch(text) else text


def _shown(text: Text, stacked: bool) -> Text:
    shown = Text(_stacked(text.plain)) if stacked else text.copy()
    shown.overflow = "fold"
    return shown


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + BETWEEN * (len(found) - 1)
