"""Which differences of a table are found: p corrected for the number of rows, and the marks that follow it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import CorruptCellError
from shiqbench.report.estimates import against
from shiqbench.report.smallest import LEVEL, largest_of, smallest_of
from shiqbench.stats.multiple import holm

if TYPE_CHECKING:
    from shiqbench.report.estimates import Difference
    from shiqbench.report.rows import Block, Row
    from shiqbench.report.scores import ScoreBook

BETTER, WORSE = "+", "-"


def find(block: Block, book: ScoreBook, wished: float | None = None) -> Difference | None:
    """Correct the p-values of a table, mark what is found, and compute the smallest difference that it can find.

    Without a baseline, the smallest difference is that of the two best rows.

    Args:
        block: The table.
        book: Reads the single scores.
        wished: The difference of which the note says what it needs; None takes a round one.

    Returns:
        Without a baseline, the best row less the second best, if they can be compared.
    """
    largest = largest_of(r.estimate.value for r in block.rows)
    if block.baseline is None:
        best = _of_the_best(block, book)
        both = " and ".join(r.name for r in two_best(block))
        block.smallest = None if best is None else smallest_of([(both, best)], 1, largest=largest, wished=wished)
        return best
    compared = [(row, row.difference) for row in block.rows if row.difference is not None]
    tested = [(row, d, d.p) for row, d in compared if d.p is not None]
    for (row, d, _), p in zip(tested, holm([p for _, _, p in tested]), strict=True):
        row.difference = replace(d, p_holm=p)
        if p < LEVEL and not block.withheld:
            row.mark = BETTER if (d.estimate.value > 0) is block.higher_is_better else WORSE
    named = [(row.name, d) for row, d in compared]
    smallest = smallest_of(named, max(1, len(tested)), largest=largest, wished=wished)
    after = [(row.name, row.difference) for row, _ in compared]
    undecided = tuple(name for name, d in after if d is not None and (d.p_holm is None or d.p_holm >= LEVEL))
    block.smallest = smallest and replace(smallest, undecided=undecided)
    return None


def _of_the_best(block: Block, book: ScoreBook) -> Difference | None:
    if len(found := two_best(block)) < 2:
        return None
    one, other = found
    try:
        return against(one.evaluations, other.evaluations, block.how, book)
    except CorruptCellError:
        return None  # the rows say so


def two_best(block: Block) -> list[Row]:
    """The two best rows with examples that have scores; where no row has them, the two best."""
    scored = [r for r in block.rows if r.estimate.examples is not None]
    return (scored or block.rows)[:2]


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
            of = f"between the two best rows, {' and '.join(r.name for r in two_best(block))},"
        found.append(
            f"smallest difference {of} that this table can find ({block.smallest.test}): {block.smallest.text()}"
        )
    return found
