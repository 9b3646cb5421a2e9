"""A report as LaTeX tables that fit a page with one column, or one of two columns."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from shiqbench.report.cells import one_line, unique
from shiqbench.report.formats.latex_fit import NONE, Column, Part, aligned, broken, fit, with_letters
from shiqbench.report.formats.latex_text import NEEDS_T1, escaped, width
from shiqbench.report.page.columns import order
from shiqbench.report.tables import text_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shiqbench.report.rows import Block, Report, TextTable

ROOM = {1: 345.0, 2: 229.0}  # pt: the text of article at 10 pt, and a column of it with two; other classes have more
_HEIGHT = 440.0  # pt: the text of article is 550 high, with a caption and headings above the rows
_NOTES_SCALE, _NOTES_LINE = 0.86, 9.5  # footnotesize
_LONGEST_LABEL = 60
_MOST_FLOATS = 12  # that wait for a page; LaTeX keeps up to 52, in small classes up to 18
_COMPARED = 3  # columns that belong together: value, difference, p (Holm)


def latex(report: Report, columns: int = 1) -> str:
    r"""LaTeX tables for ``\usepackage{booktabs}``.

    Args:
        report: The report.
        columns: Columns of a page: 1 for tables that are at most 345 pt wide, 2 for at most 229 pt.
    """
    tables = text_tables(report)
    labels = unique(map(_label, (t.title for t in tables)))
    blocks = {b.title: b for b in report.blocks}
    parts = [
        text
        for table, label in zip(tables, labels, strict=True)
        for text in _table(table, label, ROOM[columns], blocks.get(table.title))
    ]
    packages = ["booktabs", *["T1 of fontenc"] * (not NEEDS_T1.isdisjoint("".join(parts)))]
    above = f"% needs {' and '.join(packages)}; at most {ROOM[columns]:g} pt wide at 10 pt (--columns {columns})"
    for at in range(_MOST_FLOATS * ((len(parts) - 1) // _MOST_FLOATS), 0, -_MOST_FLOATS):
        parts.insert(at, r"\clearpage")
    return "\n\n".join([above, *parts, *(f"% {one_line(n)}" for n in report.notes)]) + "\n"


def _label(title: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)", "", title.lower()))
    return "tab:" + "-".join(words)[:_LONGEST_LABEL].strip("-")


def _table(table: TextTable, label: str, room: float, block: Block | None) -> Iterator[str]:
    """The floats of a table, then its notes if they do not fit below the last float."""
    ordered, together, best = table.frame, 0, None
    if block is not None:
        ordered = table.frame.iloc[:, order(block, list(table.frame.columns))]
        together, best = (_COMPARED if block.baseline else 0), _best(block)
    frame, letters = with_letters(ordered, room)
    fitting = [rows for part in fit(frame, room, together, best) for rows in _rows_that_fit(part)]
    names = {
        *table.frame.to_numpy().ravel(),
        *frame.to_numpy().ravel(),
        *(name for name in table.frame.columns if " " in name),
    }
    notes = [_note(n, names, room) for n in (*letters, *table.notes)]
    height = sum(_NOTES_LINE * math.ceil(width(n) * _NOTES_SCALE * 1.1 / room) for n in (*letters, *table.notes))
    for number, (part, rows) in enumerate(fitting, 1):
        is_last = number == len(fitting)
        below = is_last and height + sum(part.heights[i] for i in rows) <= _HEIGHT
        title = escaped(table.title) + (f" ({number} of {len(fitting)})" if len(fitting) > 1 else "")
        name = label + (f"-{number}" if number > 1 else "")
        yield "\n".join(
            [
                r"\begin{table}[tb]",
                r"\centering",
                rf"\caption{{{title}.}}",
                rf"\label{{{name}}}\par\smallskip",
                rf"\{part.size.command}\setlength{{\tabcolsep}}{{{part.size.space:g}pt}}",
                *_above(table, room),
                *_tabular(part, rows, best),
                *([r"\par\smallskip\raggedright\footnotesize", *notes] if below and notes else []),
                r"\end{table}",
            ]
        )
        if is_last and notes and not below:
            first = rf"Notes on Table~\ref{{{label}}}:\par"
            yield "\n".join(
                [r"\begingroup\raggedright\footnotesize\setlength{\parindent}{0pt}", first, *notes, r"\endgroup"]
            )


def _above(table: TextTable, room: float) -> Iterator[str]:
    for line in table.above:
        text = broken(one_line(line), room)
        yield rf"\parbox{{{room:g}pt}}{{\raggedright\footnotesize\bfseries {text}.}}\par\smallskip"


def _rows_that_fit(part: Part) -> Iterator[tuple[Part, list[int]]]:
    rows: list[int] = []
    height = 0.0
    for row, more in enumerate(part.heights):
        if rows and height + more > _HEIGHT:
            yield part, rows
            rows, height = [], 0.0
        rows.append(row)
        height += more
    yield part, rows


def _best(block: Block) -> int | None:
    """The first row, if the test that is corrected for the number of rows finds that it is better than the baseline."""
    first = block.rows[0]
    if first.difference is None or not first.mark:
        return None
    return 0 if (first.difference.estimate.value > 0) is block.higher_is_better else None


def _note(note: str, names: set[str], room: float) -> str:
    """A sentence: a capital first letter, unless it begins with a name or a heading of the table."""
    first, *more = note.split(" ")
    named = first.rstrip(",:;") in names or " ".join([first, *more[:1]]) in names
    said = note if named else note[:1].upper() + note[1:]
    return broken(one_line(said), room / _NOTES_SCALE) + r".\par"


def _tabular(part: Part, rows: Sequence[int], best: int | None) -> Iterator[str]:
    specs, heads, cells = [], [], []
    for column, at in zip(part.columns, part.widths, strict=True):
        is_broken = column.kind == "text" and column.widest * part.size.scale > at + 0.01
        specs.append(f"p{{{at:.1f}pt}}" if is_broken else {"estimate": r"r@{\ }l", "text": "l"}.get(column.kind, "r"))
        heads.append(_head(column, is_broken))
        cells.append(_broken_cells(column, at / part.size.scale) if is_broken else aligned(column))
    yield rf"\begin{{tabular}}{{@{{}}{''.join(specs)}@{{}}}}"
    yield r"\toprule"
    yield " & ".join(heads) + r" \tabularnewline"
    yield r"\midrule"
    for row in rows:
        shown = [cell for column in cells for cell in column[row]]
        yield " & ".join(_bold(c) if row == best else c for c in shown) + r" \tabularnewline"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _broken_cells(column: Column, room: float) -> list[list[str]]:
    return [[r"\textendash" if c == NONE else rf"\raggedright {broken(c, room)}"] for c in column.cells]


def _head(column: Column, is_broken: bool) -> str:
    lines = [escaped(line) for line in column.heading]
    place = {"text": "l", "estimate": "c"}.get(column.kind, "r")
    text = (
        lines[0]
        if len(lines) == 1
        else rf"\begin{{tabular}}[b]{{@{{}}{place}@{{}}}}" + r"\\".join(lines) + r"\end{tabular}"
    )
    if is_broken:
        return rf"\raggedright {text}"
    return rf"\multicolumn{{2}}{{c}}{{{text}}}" if column.kind == "estimate" else text


def _bold(cell: str) -> str:
    ragged, text = r"\raggedright " * cell.startswith(r"\raggedright "), cell.removeprefix(r"\raggedright ")
    return rf"{ragged}\textbf{{{text}}}" if cell else ""
