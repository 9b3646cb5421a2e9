"""What may be concluded from a table, in one sentence, from the corrected test only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.report.findings import two_best
from shiqbench.report.smallest import LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.report.estimates import Difference
    from shiqbench.report.rows import Block, Row

RESULT = "Result: "
ABOUT_WEIGHTS = "about these weights, not about the algorithms"


def conclusion(block: Block, best: Difference | None) -> str:
    """The sentence.

    Args:
        block: The table, with marks and corrected p-values.
        best: The best row less the second best; used without a baseline.
    """
    return RESULT + (_of_the_best(block, best) if block.baseline is None else _against(block, block.baseline))


def _against(block: Block, baseline: str) -> str:
    tested = [(r, r.difference) for r in block.rows if r.difference is not None and r.difference.p_holm is not None]
    if len(block.rows) == 1:
        return f"nothing is compared: {block.rows[0].name} is the only row"
    if not tested:
        return "nothing can be concluded: no row has a test against " + baseline
    found: dict[str, list[Row]] = {}
    for row, d in tested:
        found.setdefault(_is(block, d) if (d.p_holm or 0.0) < LEVEL else "", []).append(row)
    same = found.pop("", [])
    said = [f"{_names(rows)} {'is' if len(rows) == 1 else 'are'} {what} {baseline}" for what, rows in found.items()]
    if said and block.withheld:
        said[-1] += f" ({_direction(block)})"
    said += [f"for {_names(same)} no difference from {baseline} is found"] if same else []
    return "; ".join(said) + _of_weights(tested)


def _of_the_best(block: Block, best: Difference | None) -> str:
    if len(block.rows) == 1:
        return f"nothing is compared: {block.rows[0].name} is the only row"
    hint = "; shiqbench report --baseline NAME gives differences and p"
    if best is None or best.p is None:
        return "nothing can be concluded: the two best rows have no test" + hint
    one, other = two_best(block)
    p = "p < 1e-06" if best.p < 1e-6 else f"p = {best.p:.2g}"
    tail = f" ({p}){_of_weights([(one, best)], named=False)}{hint}"
    if best.p >= LEVEL:
        return f"no difference is found between the two best rows, {one.name} and {other.name}{tail}"
    also = f" ({_direction(block)})" if block.withheld else ""
    return f"{one.name} is {_is(block, best)} {other.name}, the second row{also}{tail}"


def _is(block: Block, d: Difference) -> str:
    """``better than`` or ``worse than``; where "better" is withheld, only the direction."""
    higher = d.estimate.value > 0
    if block.withheld:
        return "higher than" if higher else "lower than"
    return "better than" if higher is block.higher_is_better else "worse than"


def _direction(block: Block) -> str:
    return f"{'higher' if block.higher_is_better else 'lower'} is better, but {block.withheld}"


def _of_weights(tested: Sequence[tuple[Row, Difference]], *, named: bool = True) -> str:
    few = [r for r, d in tested if d.of_weights]
    if not few:
        return ""
    of = f" for {_names(few)}" if named and len(few) < len(tested) else ""
    return f"; with 1 or 2 seeds this is{of} {ABOUT_WEIGHTS}"


def _names(rows: Sequence[Row]) -> str:
    """Names of rows: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = [r.name for r in rows]
    return f"{', '.join(first)} and {last}" if first else last
