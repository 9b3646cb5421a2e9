"""The columns of a page's tables: which come first, what each says, and the exact numbers that they sort by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shiqbench.report.rows import Block

INTERVAL = " [95 %]"
COUNTS = ("better/worse/same", "higher/lower/same")
SPENT = ("updates", "train tokens", "train s", "eval s")
# The same words as in docs/report.md.
WORDS = {
    "algorithm": "what trained the row; base is the untrained model",
    "differs in": "settings in which rows of one algorithm differ; the start is what other rows start from",
    "start": "the model or the cell that training started from",
    "seeds": "seeds of the trainings that make up the row; in tables over tasks and in the ledger, their number",
    "examples": "examples that every seed has scored; in bfcl_v3 a scenario with its turns is one",
    "value, [95 %]": "mean over seeds, with an interval over examples and seeds",
    "less BASELINE": "the value less the baseline's, on the examples that both have, with its interval. Every seed of "
    "both counts",
    "better/worse/same": "examples whose mean over seeds is better, worse or the same",
    "higher/lower/same": "the same without the word better, where budgets or tuning are UNEQUAL",
    "p": "by the same variance as the interval: below .05 where the interval leaves out 0, and only there",
    "p (Holm)": "p corrected for all rows of the table that are compared, by Holm's step-down. + is better and - worse "
    "than the baseline at 5 % by this number, and by nothing else. No row has a mark where budgets are UNEQUAL",
    "other metrics": "mean over seeds",
    "updates": "updates of the weights per training",
    "train tokens": "tokens of all passes per training",
    "train s": "seconds per training, mean over seeds",
    "eval s": "seconds per evaluation, mean over seeds",
}
_OTHER = "other metrics"


def meaning(head: str, block: Block | None = None) -> str:
    """The heading of :data:`WORDS` that explains a column, or an empty string.

    Args:
        head: The column's own heading.
        block: The block whose table it is in; None for another table.
    """
    if head in WORDS:
        return head
    if head == f"value{INTERVAL}" or (block is not None and head == f"{block.metric}{INTERVAL}"):
        return "value, [95 %]"
    if block is not None and block.baseline is not None and head == f"less {block.baseline}{INTERVAL}":
        return "less BASELINE"
    return "" if block is None else _OTHER


def order(block: Block, head: Sequence[str]) -> list[int]:
    """The columns in the order of a page and a paper: what a reader compares first, what it cost last."""
    names = ["algorithm", "differs in"]
    compared = ["value, [95 %]", "less BASELINE", "p (Holm)", *COUNTS, "p"]
    named = len({(r.algorithm, r.label) for r in block.rows}) == len(block.rows)
    first = [*names, *compared, "start"] if named else [*names, "start", *compared]
    ranks = {name: i for i, name in enumerate([*first, "seeds", "examples", _OTHER, *SPENT])}
    return sorted(range(len(head)), key=lambda i: ranks[meaning(head[i], block)])


def exact(block: Block, head: str) -> list[float | None]:
    """The numbers of a column with all digits, a number per row; None where the text says all."""
    what = meaning(head, block)
    differences = [r.difference for r in block.rows]
    if what == "value, [95 %]":
        return [r.estimate.value for r in block.rows]
    if what == "less BASELINE":
        return [None if d is None else d.estimate.value for d in differences]
    if what == "p":
        return [None if d is None else d.p for d in differences]
    if what == "p (Holm)":
        return [None if d is None else d.p_holm for d in differences]
    return [None] * len(block.rows)


def legend(meanings: Iterable[str]) -> list[tuple[str, str]]:
    """The words for some columns, each once, in the order of :data:`WORDS`."""
    found = set(meanings)
    return [(name, words) for name, words in WORDS.items() if name in found]
