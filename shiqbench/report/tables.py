"""The text tables of a report, which every text format shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shiqbench.report.aggregate.tables import aggregate_tables
from shiqbench.report.cells import showable, text_frame
from shiqbench.report.conclusion import ABOUT_WEIGHTS
from shiqbench.report.ledger import ledger_tables
from shiqbench.report.notes import MOST_LINES, brief_seeds
from shiqbench.report.numbers import amount, in_column
from shiqbench.report.rows import TextTable
from shiqbench.stats.two_way import LEAST_SEEDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from shiqbench.report.estimates import Estimate
    from shiqbench.report.rows import Block, Report, Row
    from shiqbench.store.index import EvaluationEntry

OVERVIEW = "Overview of primary metrics"


def text_tables(report: Report) -> list[TextTable]:
    """In this order: overview, tables of all blocks, aggregates over tasks, the ledger, training, learning curves."""
    shown = [b for b in report.blocks if not b.trials]
    unequal = [f"{head}: {b.withheld}" for b, head in zip(shown, heads(shown), strict=True) if b.withheld]
    found = [TextTable(OVERVIEW, overview(shown), _caveats(shown), unequal)] if len(shown) > 1 else []
    found += [TextTable(b.title, block_frame(b), b.notes, b.above) for b in report.blocks]
    found += [t._replace(above=[*t.above, *unequal]) for t in aggregate_tables(report.aggregate)]
    found += ledger_tables(report)
    found += [*report.training, *report.curves]
    return [t._replace(frame=showable(t.frame)) for t in found]


def overview(blocks: Sequence[Block]) -> pd.DataFrame:
    """Table of algorithm x task: the primary metric of every block."""
    names = list(dict.fromkeys(r.name for b in blocks for r in sorted(b.rows, key=lambda r: _natural(r.name))))
    texts = [list(zip((r.name for r in b.rows), _estimates([r.estimate for r in b.rows]), strict=True)) for b in blocks]
    found = [[name, *("; ".join(t for n, t in column if n == name) or "-" for column in texts)] for name in names]
    return text_frame(["algorithm", *heads(blocks)], found)


def _natural(name: str) -> list[tuple[float, str]]:
    """A key that sorts numbers in a name by their value."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", name)
    return [(float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts)]


def _caveats(blocks: Sequence[Block]) -> list[str]:
    """What the cells of the overview do not say: the direction, reduced settings, and few seeds."""
    reduced, few = [], []
    for b, head in zip(blocks, heads(blocks), strict=True):
        reduced += [head] * any(r.reduced for r in b.rows)
        trained = [r for r in b.rows if r.seeds]
        names = [r.name for r in trained if len(r.seeds) < LEAST_SEEDS]
        every = len(names) == len(trained) > MOST_LINES
        few += [f"{head}: {'all that is trained' if every else ', '.join(names)}"] * bool(names)
    found = ["↑: higher is better; ↓: lower is better"]
    found += [f"REDUCED setting, smaller or easier than the task's full one: {'; '.join(reduced)}"] * bool(reduced)
    found += [f"1 or 2 seeds, so {ABOUT_WEIGHTS}: {'; '.join(few)}"] * bool(few)
    return found


def heads(blocks: Sequence[Block]) -> list[str]:
    """A heading per block: the task and its metric, and what tells two blocks of one task apart."""
    found = []
    for b in blocks:
        several = sum(o.task == b.task for o in blocks) > 1
        told = ", ".join(filter(None, (b.split, b.told or b.setting[:6])))
        found.append(b.heading + (f" ({told})" if several else ""))
    return found


def block_frame(block: Block) -> pd.DataFrame:
    """The table of a block, one line per row."""
    labelled = any(r.label for r in block.rows)
    starts = len({r.start for r in block.rows}) > 1
    versus = block.baseline is not None
    head = (
        ["algorithm"] + ["differs in"] * labelled + ["start"] * starts + ["seeds", "examples", f"{block.metric} [95 %]"]
    )
    head += [f"less {block.baseline} [95 %]", _counted(block), "p", "p (Holm)"] * versus
    spent = ["updates", "train tokens", "train s", "eval s"]
    for name, heading, _ in block.columns:
        head.append(f"{heading} ({name})" if heading in (*head, *spent) else heading)
    head += spent
    values = _estimates([r.estimate for r in block.rows])
    differences = _estimates([r.difference.estimate if r.difference else None for r in block.rows])
    found = []
    for r, value, difference in zip(block.rows, values, differences, strict=True):
        cells = [r.algorithm + " *" * r.own] + [r.label] * labelled + [r.start] * starts
        cells += [brief_seeds(r.seeds) or "-", _number(r.estimate.examples, "d"), value]
        cells += [difference, *_versus(block, r)] if versus else []
        cells += [_number(r.metric(name), spec) for name, _, spec in block.columns]
        cells += map(amount, (r.spent("updates"), r.train_tokens, r.train_seconds, r.eval_seconds))
        found.append(cells)
    return text_frame(head, found)


def curve_table(
    points: Mapping[int, EvaluationEntry],
    estimates: Mapping[int, Estimate],
    columns: Sequence[tuple[str, str, str]],
    title: str,
) -> TextTable:
    """Table of one cell's evaluations over its training.

    Args:
        points: Evaluations by number of updates.
        estimates: Their values by number of updates.
        columns: Further metrics: name, heading, format.
        title: Title of the table.
    """
    first = next(iter(points.values()))
    head = ["updates", f"{first.primary['name']} [95 %]", *(heading for _, heading, _ in columns)]
    values = _estimates([estimates[update] for update in points])
    found = [
        [str(update), value, *(_number(e.metrics.get(name), spec) for name, _, spec in columns)]
        for (update, e), value in zip(points.items(), values, strict=True)
    ]
    return TextTable(title, text_frame(head, found), [])


def _estimates(estimates: Sequence[Estimate | None]) -> list[str]:
    """Estimates of one column, with a dash where there is none."""
    texts = iter(in_column([(e.value, e.low, e.high) for e in estimates if e is not None]))
    return ["-" if e is None else next(texts) for e in estimates]


def _counted(block: Block) -> str:
    """What is counted of the examples: where "better" is withheld, only the direction is said."""
    return "higher/lower/same" if block.withheld else "better/worse/same"


def _versus(block: Block, row: Row) -> list[str]:
    d = row.difference
    if d is None:
        return ["-", "-", "-"]
    counts = "-"
    if d.units is not None and d.better is not None and d.worse is not None:
        both = (d.better, d.worse) if block.higher_is_better or not block.withheld else (d.worse, d.better)
        counts = f"{both[0]}/{both[1]}/{d.units - sum(both)}"
    return [counts, _probability(d.p), f"{_probability(d.p_holm)} {row.mark}".rstrip()]


def _probability(p: float | None) -> str:
    """A p-value; the tail of t is trusted no further than one in a million."""
    return "<1e-06" if p is not None and p < 1e-6 else _number(p, ".2g")


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
