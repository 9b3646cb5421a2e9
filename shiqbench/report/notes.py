"""The notes below a table: reduced settings, unequal budgets, missing seeds and missing cells."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.report.known import KnownTask
    from shiqbench.report.rows import Block, Row
    from shiqbench.store.index import Index, Unfinished

ALIKE = 0.05  # budgets in tokens that differ by less are equal: training ends with a whole batch
MOST_LINES = 5  # failures, examples and metrics that are listed one by one


def notes_of(block: Block, index: Index, known: KnownTask) -> list[str]:
    """The notes on one block, one line each."""
    found = []
    if reduced := [r for r in block.rows if r.reduced]:
        which = "" if len(reduced) == len(block.rows) else f" ({_names(reduced)})"
        found.append(f"REDUCED setting, not comparable with the official one{which}")
    found += _not_finite(block)
    found += _left_out(block)
    found += _budgets(block.rows)
    found += _seeds(block.rows)
    found += _intervals(block)
    found += list(
        dict.fromkeys(n for r in block.rows for e in r.evaluations[:1] for n in known.notes(block.values, e.metrics))
    )
    trained_on = {r.evaluations[0].folder.split("/")[0] for r in block.rows}
    return found + missing(u for u in index.unfinished if u.folder.split("/")[0] in trained_on)


def _not_finite(block: Block) -> list[str]:
    """Results of older versions and of tasks that no test kit has checked may hold NaN or infinity."""
    bad = [
        f"{r.name}{'' if e.cell.seed is None else f' seed {e.cell.seed}'} {name}={value}"
        for r in block.rows
        for e in r.evaluations
        for name, value in e.metrics.items()
        if not math.isfinite(value)
    ]
    return [f"NOT FINITE, no result: {_first(bad)}; evaluate again with a task that gives numbers"] if bad else []


def _left_out(block: Block) -> list[str]:
    found = []
    for r in block.rows:
        if r.difference is not None and r.difference.left_out:
            out = [f"{unit} ({why})" for unit, why in r.difference.left_out.items()]
            total = len(out) + (r.difference.units or 0)
            found.append(
                f"{r.name} less {block.baseline}: {len(out)} of {total} examples left out on both sides: {_first(out)}"
            )
    return found


def _first(words: list[str]) -> str:
    return ", ".join(words[:MOST_LINES]) + (f" and {len(words) - MOST_LINES} more" if len(words) > MOST_LINES else "")


def _budgets(rows: Iterable[Row]) -> list[str]:
    """Budgets are equal if their updates or their tokens are equal."""
    spent = {
        r.name: (updates, tokens or 0.0)
        for r in rows
        for updates, tokens in [(r.spent("updates"), r.spent("tokens"))]
        if updates is not None
    }
    if not spent:
        return []
    updates, tokens = zip(*spent.values(), strict=True)
    if len(set(updates)) == 1 or min(tokens) >= (1 - ALIKE) * max(tokens) > 0:
        return []
    by_budget: dict[str, list[str]] = {}
    for name, (u, t) in spent.items():
        by_budget.setdefault(f"{u:g} updates, {t:.3g} tokens", []).append(name)
    said = "; ".join(f"{', '.join(names)}: {budget}" for budget, names in by_budget.items())
    return [f"UNEQUAL budgets: {said}"]


def _seeds(rows: Iterable[Row]) -> list[str]:
    trained = [(r.name, set(r.seeds)) for r in rows if r.trained]
    every = set[int]().union(*(seeds for _, seeds in trained))
    lacking = [(name, sorted(every - seeds)) for name, seeds in trained]
    said = [f"{name} lacks {brief_seeds(seeds)}" for name, seeds in lacking if seeds]
    return [f"seeds differ: {'; '.join(said)}"] if said else []


def brief_seeds(seeds: list[int]) -> str:
    """Seeds in short form: ``0-4, 7``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _intervals(block: Block) -> list[str]:
    hows = Counter(r.estimate.how for r in block.rows)
    found = ["95 % intervals: " + "; ".join(hows)]
    differences = [r.difference for r in block.rows if r.difference is not None]
    if differences:
        by_unit = any(d.units is not None for d in differences)
        paired = "seed by seed and example by example" if by_unit else "seed by seed"
        over = "; ".join(dict.fromkeys(d.estimate.how for d in differences))
        found.append(f"differences are paired {paired}, their intervals: {over}; p: exact sign test, unadjusted")
    return found


def missing(unfinished: Iterable[Unfinished]) -> list[str]:
    """Cells and evaluations without a result: their number by cause, and the first failures in full."""
    found = list(unfinished)
    if not found:
        return []
    counts = Counter((u.folder.split("/")[1], u.cause) for u in found)
    said = ", ".join(f"{n} of {algorithm} {cause}" for (algorithm, cause), n in sorted(counts.items()))
    failed = [u for u in found if u.what]
    more = f" and {len(failed) - MOST_LINES} more" if len(failed) > MOST_LINES else ""
    lines = "; ".join(f"{u.folder}: {u.what}" for u in failed[:MOST_LINES])
    return [f"NO RESULT: {said}" + (f" ({lines}{more})" if lines else "")]


def _names(rows: Iterable[Row]) -> str:
    return ", ".join(r.name for r in rows)
