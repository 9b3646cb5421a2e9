"""What a page shows, whichever comparison it is of: summary, tables with links, figures, records."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from shiqbench.report.cells import one_line
from shiqbench.report.conclusion import RESULT
from shiqbench.report.page.columns import WORDS, exact, legend, meaning, order
from shiqbench.report.page.records import LARGEST, Embedded, embed, in_order
from shiqbench.report.tables import OVERVIEW, heads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.report.known import KnownTask
    from shiqbench.report.rows import Block, TextTable

LOUD = re.compile(r"\b[A-Z]{6,}\b")  # UNEQUAL, REDUCED, MEANINGLESS: notes with such words are the main ones


class Cell(NamedTuple):
    """A cell of a table: its text, what it links to or an empty string, and the exact number that it sorts by."""

    text: str
    link: str = ""
    number: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        title: Its title.
        head: Headings of the columns.
        rows: Its cells.
        notes: Notes below it.
        above: Notes above it.
        meanings: What explains each column: a key of :data:`~shiqbench.report.page.columns.WORDS` or an empty string.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    above: Sequence[str] = ()
    meanings: Sequence[str] = ()

    @property
    def headings(self) -> list[tuple[str, str]]:
        """Each heading and what it says."""
        known = self.meanings or [""] * len(self.head)
        return [(name, WORDS.get(m, "")) for name, m in zip(self.head, known, strict=True)]


@dataclass(frozen=True)
class Figure:
    """A figure: its caption, what it says in words, and the svg."""

    caption: str
    words: str
    svg: bytes


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its title.
        facts: Numbers of the summary: what, how many.
        compared: Lines that say what is compared.
        tables: Tables in order.
        figures: Figures in order.
        notes: Notes on the whole.
        examples: What the page's script reads: blocks with their rows and evaluations.
        records: Records of the evaluations, in the order of their numbers.
        opens: Link whose examples the page shows first; empty for none.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    compared: Sequence[Cell]
    tables: Sequence[Table]
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[Embedded] = ()
    opens: str = ""

    @property
    def main_notes(self) -> list[str]:
        """What may be concluded from each table, notes on the whole, and those with words in capitals; each once."""
        results = [
            f"{', '.join(t.title.split(', ')[:2])}: {n.removeprefix(RESULT)}"
            for t in self.tables
            for n in t.notes
            if n.startswith(RESULT)
        ]
        of_tables = [n for t in self.tables for n in (*t.above, *t.notes) if LOUD.search(n)]
        return list(dict.fromkeys([*results, *self.notes, *of_tables]))

    @property
    def legend(self) -> list[tuple[str, str]]:
        """What the columns of its tables say."""
        return legend(m for t in self.tables for m in t.meanings)


def link(block: int, row: int, versus: int | None = None) -> str:
    """Link to the examples of a row, or to those of two rows side by side."""
    return f"#b{block}-r{row}" + ("" if versus is None else f"-r{versus}")


def linked(table: TextTable, blocks: Sequence[Block]) -> Table:
    """A text table with links from the value and the difference of each row to the examples that make them."""
    head, found = [str(c) for c in table.frame.columns], table.frame.to_numpy()
    number = next((i for i, b in enumerate(blocks) if b.title == table.title), None)
    block = None if number is None else blocks[number]
    columns: Sequence[int] = range(len(head))
    numbers: list[Sequence[float | None]] = [[None] * len(found)] * len(head)
    to: Callable[[int, int], str] = _to_nothing
    if number is not None and block is not None:
        columns, numbers = order(block, head), [exact(block, name) for name in head]
        to = _to_examples(number, block, head)
    elif table.title == OVERVIEW:
        to = _to_blocks(blocks, head, [str(cells[0]) for cells in found])
    rows = [
        [Cell(str(cells[c]), to(r, c) if cells[c] != "-" else "", numbers[c][r]) for c in columns]
        for r, cells in enumerate(found)
    ]
    meanings = [meaning(head[c], block) for c in columns]
    return Table(table.title, [head[c] for c in columns], rows, table.notes, table.above, meanings)


def _to_nothing(row: int, column: int) -> str:
    return ""


def _to_blocks(blocks: Sequence[Block], head: Sequence[str], names: Sequence[str]) -> Callable[[int, int], str]:
    """Links of the overview: a column per block; where several rows have one name, the first."""
    shown = [number for number, b in enumerate(blocks) if not b.trials]
    columns = heads([blocks[number] for number in shown])
    of_column = {
        head.index(one_line(h)): number for h, number in zip(columns, shown, strict=True) if columns.count(h) == 1
    }

    def to(row: int, column: int) -> str:
        if column not in of_column:
            return ""
        rows = [one_line(r.name) for r in blocks[of_column[column]].rows]
        return link(of_column[column], rows.index(names[row])) if names[row] in rows else ""

    return to


def _to_examples(number: int, block: Block, head: Sequence[str]) -> Callable[[int, int], str]:
    """Links of a block's table: from the value to the row's examples, from the difference to both rows."""
    value = next((i for i, name in enumerate(head) if name.startswith(f"{block.metric} [")), -1)
    versus = next((i for i, name in enumerate(head) if name.startswith(f"less {block.baseline} ")), -1)
    theirs = block.against(block.baseline or "")
    baseline = next((i for i, r in enumerate(block.rows) if len(theirs) == 1 and r is theirs[0]), None)

    def to(row: int, column: int) -> str:
        if column == value:
            return link(number, row)
        return link(number, row, baseline) if column == versus and baseline is not None else ""

    return to


def examples(
    results: Path, blocks: Sequence[Block], known: Mapping[str, KnownTask], largest: float = LARGEST
) -> tuple[dict[str, Any], list[Embedded]]:
    """The blocks as the page's script reads them, and the records of their evaluations.

    Args:
        results: Results folder.
        blocks: Blocks whose numbers have links.
        known: Known facts about each task.
        largest: MB of embedded records.
    """
    order = [r.evaluations[i].folder for _, r, i in in_order(blocks)]
    task_of = {e.folder: b.task for b in blocks for r in b.rows for e in r.evaluations}
    found = embed(results, [(f, known[task_of[f]].record_view) for f in order], largest)
    numbers = {folder: i for i, folder in enumerate(found)}
    told = []
    for block in blocks:
        task = known[block.task]
        scores = task.scores_of(block.metric)
        rows = [
            {
                "name": name,
                "value": str(r.estimate),
                "evaluations": [{"seed": e.cell.seed, "records": numbers[e.folder]} for e in r.evaluations],
            }
            for name, r in zip(block.names, block.rows, strict=True)
        ]
        told.append(
            {
                "title": block.title,
                "metric": block.metric,
                "higher": block.higher_is_better,
                "view": asdict(task.record_view),
                "scores": None if scores is None else asdict(scores),
                "rows": rows,
            }
        )
    facts = [{"folder": f, "count": e.count, "why": e.why} for f, e in found.items()]
    return {"blocks": told, "records": facts}, list(found.values())
