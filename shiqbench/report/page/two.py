"""The page of two evaluations of one setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from shiqbench.report.compare_text import SIDES, further, header, scores, summary
from shiqbench.report.page.content import Cell, Page, Table, examples, link, linked
from shiqbench.report.page.records import LARGEST
from shiqbench.report.rows import TextTable
from shiqbench.report.side_by_side import visible
from shiqbench.report.tables import block_frame

if TYPE_CHECKING:
    from shiqbench.report.compare import Comparison, Example

SIDE_BY_SIDE = link(0, 0, 1)


def page_of_two(
    found: Comparison, count: int | None = None, opens: Example | None = None, largest: float = LARGEST
) -> Page:
    """The page of a comparison.

    Args:
        found: The comparison.
        count: Number of examples in its table; None takes all. The records of all examples are in the page.
        opens: Example that the page shows first; None shows the summary.
        largest: MB of embedded records; 0 embeds none.
    """
    block, listed = found.block, found.examples[:count]
    told, records = examples(Path(), [block], {block.task: found.known}, largest)
    a, b = (r.name for r in block.rows)
    of_both = header(found)
    rows = [[Cell(str(text)) for text in cells] for cells in of_both.to_numpy()]
    table = linked(TextTable(block.title, block_frame(block), block.notes), [block])
    each = [[Cell(visible(e.name, one_line=True), _to(e)), *map(Cell, scores(found, e))] for e in listed]
    first = Cell(f"{len(found.examples)} examples of A ({a}) and B ({b}) side by side", SIDE_BY_SIDE)
    facts = [(name, f"{len([e for e in found.scored if found.higher(e) == side]):,}") for name, side in SIDES]
    missing = [f"RECORDS are not in this page: {e.why}" for e in records if e.why]
    return Page(
        f"shiqbench: {a} and {b}",
        [("examples", f"{len(found.scored):,}"), *facts, ("left out", f"{len(found.examples) - len(found.scored):,}")],
        [first],
        [
            Table(f"A ({a}) and B ({b})", list(of_both.columns), rows, further(found)),
            table,
            Table(f"The examples that differ most ({len(listed)} of {len(found.examples)})", EXAMPLES, each),
        ],
        notes=[*block.above, *summary(found), *dict.fromkeys(missing)],
        examples=told,
        records=records,
        opens="" if opens is None else _to(opens) or SIDE_BY_SIDE,
    )


def _to(example: Example) -> str:
    """Link to the example's first record in both evaluations."""
    record = next(r for side in example.records for r in side)
    return f"{SIDE_BY_SIDE}-x{quote(str(record[example.view.title]), safe='')}" if example.view.title in record else ""


EXAMPLES = ("example", "A", "B", "A less B", "higher")
