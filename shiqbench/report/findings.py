"""Which differences of a table are found: p corrected for the number of rows, and the marks that follow it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import CorruptCellError
from shiqbench.report.estimates import against
from shiqbench.report.smallest import LEVEL, smallest_of
from shiqbench.stats.multiple import holm

if TYPE_CHECKING:
    from shiqbench.report.estimates import Difference
    from shiqbench.report.rows import Block, Row
    from shiqbench.report.scores import ScoreBook

BETTER, WORSE = "+", "-"


def find(block: Block, book: ScoreBook) -> None:
    """Correct the p-values of a table, mark what is found, and compute the smallest difference that it can find.

    Without a baseline, the smallest difference is that of the two best rows.

    Args:
        block: The table.
        book: Reads the single scores.
    """
    if block.baseline is None:
        best = _of_the_best(block, book)
        block.smallest = None if best is None else smallest_of([best], 1)
        return
    compared = [(row, row.difference) for row in block.rows if row.difference is not None]
    tested = [(row, d, d.p) for row, d in compared if d.p is not None]
    for (row, d, _), p in zip(tested, holm([p for _, _, p in tested]), strict=True):
        row.difference = replace(d, p_holm=p)
        if p < LEVEL and not block.withheld:
            row.mark = BETTER if (d.estimate.value > 0) is block.higher_is_better else WORSE
    block.smallest = smallest_of([d for _, d in compared], max(1, len(tested)))


def _of_the_best(block: Block, book: ScoreBook) -> Difference | None:
    if len(found := _two_best(block)) < 2 or block.how is None:
        return None
    one, other = found
    try:
        return against(one.evaluations, other.evaluations, block.how, book)
    except CorruptCellError:
        return None  # the rows say so


def _two_best(block: Block) -> list[Row]:
    """The two best rows whose examples have scores."""
    return [r for r in block.rows if r.estimate.examples is not None][:2]


def finding_notes(block: Block) -> list[str]:
    """What the corrected p and the marks say, and the smallest difference that the table can find."""
    found = []
    if tested := [r for r in block.rows if r.difference is not None and r.difference.p_holm is not None]:
        marks = f"no row is marked: {block.withheld}"
        if not block.withheld:
            marks = f"{BETTER} is better and {WORSE} worse than {block.baseline} at 5 % by p (Holm)"
        rows = f"the {len(tested)} rows that are" if len(tested) > 1 else "the one row that is"
        found.append(f"p (Holm) is corrected for {rows} compared with {block.baseline}; {marks}")
    if block.smallest is not None:
        of = f"from {block.baseline}"
        if block.baseline is None:
            of = f"between the two best rows, {' and '.join(r.name for r in _two_best(block))},"
        found.append(
            f"smallest difference {of} that this table can find ({block.smallest.test}): {block.smallest.text()}"
        )
    return found
