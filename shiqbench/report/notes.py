"""The notes below a table: reduced settings, missing seeds, what intervals are over, and missing cells."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from shiqbench.base.words import listed
from shiqbench.report.estimates import THESE
from shiqbench.report.findings import finding_notes
from shiqbench.report.numbers import freedoms
from shiqbench.stats.two_way import LEAST_SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.report.estimates import Estimate
    from shiqbench.report.known import KnownTask
    from shiqbench.report.rows import Block, Row
    from shiqbench.store.index import Index, Unfinished

MANY = 50  # examples from which on the intervals hold what they say, whatever the scores are
MOST_LINES = 5  # failures, examples and metrics that are listed one by one


def notes_of(block: Block, index: Index, known: KnownTask, *, same_seeds: bool = True) -> list[str]:
    """The notes on one block, one line each; ``same_seeds`` is False if its rows are to have different seeds."""
    found = []
    if reduced := [r for r in block.rows if r.reduced]:
        which = "" if len(reduced) == len(block.rows) else f" ({_names(reduced)})"
        found.append(f"REDUCED setting: smaller or easier than the task's full one, not comparable with it{which}")
    found += _not_finite(block)
    found += _left_out(block)
    found += _seen(block.rows)
    found += _seeds(block.rows) if same_seeds else []
    found += _intervals(block)
    found += _of_task(block, known)
    found += _schemas(block.rows)
    found += _lacking(block)
    found += _objectives(block.rows)
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
    return (
        [f"NOT FINITE, no result: {listed(bad, MOST_LINES)}; evaluate again with a task that gives numbers"]
        if bad
        else []
    )


def _left_out(block: Block) -> list[str]:
    found = []
    for r in block.rows:
        if r.difference is not None and r.difference.left_out:
            out = [f"{unit} ({why})" for unit, why in r.difference.left_out.items()]
            total = len(out) + (r.difference.units or 0)
            less = f"{r.name} less {block.baseline}: {len(out)} of {total} examples left out on both sides"
            found.append(f"{less}: {listed(out, MOST_LINES)}")
    return found


def _of_task(block: Block, known: KnownTask) -> list[str]:
    """What the task says about the numbers of each row, with the rows if it does not say it of all."""
    by_note: dict[str, list[Row]] = {}
    for r in block.rows:
        for note in known.notes(block.values, r.evaluations[0].metrics):
            by_note.setdefault(note, []).append(r)
    return [f"{n} ({_names(rows)})" if len(rows) < len(block.rows) else n for n, rows in by_note.items()]


def _seen(rows: Iterable[Row]) -> list[str]:
    """Rows whose training ended before it had used all its data."""
    found = []
    for r in rows:
        used, offered = r.spent("episodes"), r.spent("offered")
        if used is not None and offered is not None and used < offered:
            found.append(f"{r.name} on at most {used:.0f} of {offered:.0f} episodes")
    return [f"trained on a part of the data: {', '.join(found)}"] if found else []


def _schemas(rows: Iterable[Row]) -> list[str]:
    by_schema: dict[int, list[Row]] = {}
    for r in rows:
        by_schema.setdefault(r.evaluations[0].cell.recipe.value["schema"], []).append(r)
    if len(by_schema) < 2:
        return []
    said = "; ".join(f"{schema}: {_names(found)}" for schema, found in sorted(by_schema.items()))
    return [
        f"cells of different versions of shiqbench, by their schema ({said}); before schema 2 fewer tokens are counted"
    ]


def _lacking(block: Block) -> list[str]:
    """Metrics of columns that some rows lack, as results of older versions may."""
    found = []
    for name, heading, _ in block.columns:
        lacking = [r for r in block.rows if r.metric(name) is None]
        if 0 < len(lacking) < len(block.rows):
            found.append(f"no {heading} ({name}) in every seed of: {_names(lacking)}")
    return found


def _objectives(rows: Iterable[Row]) -> list[str]:
    """Rows whose algorithm has another beta than the objective that the task measures."""
    found = []
    for r in rows:
        recipe = r.evaluations[0].cell.recipe.value
        mine, measured = (recipe[part]["config"].get("beta") for part in ("algorithm", "task"))
        if None not in (mine, measured) and not math.isclose(mine, measured):
            found.append(f"{r.name} (algo.beta = {mine:g}, task.beta = {measured:g})")
    return [f"trained for another objective than the measured one: {', '.join(found)}"] if found else []


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
    found = [f"95 % intervals: {_hows((r.name, r.estimate) for r in block.rows)}"]
    compared = [(r, r.difference.estimate) for r in block.rows if r.difference is not None]
    if compared:
        said = _hows((r.name, estimate) for r, estimate in compared)
        if said == _hows((r.name, r.estimate) for r, _ in compared):
            said = "over the same as those of the values"
        found.append(
            f"differences are paired example by example, their intervals: {said}; p has the same variance, so it is "
            "below .05 where the interval leaves out 0"
        )
    found += finding_notes(block)
    if THESE in " ".join(found):
        found.append(f"{THESE}: the interval says nothing about other seeds; that needs {LEAST_SEEDS} seeds")
    if any(r.estimate.df is not None and (r.estimate.examples or 0) < MANY for r in block.rows):
        found.append(f"fewer than {MANY} examples: 95 % intervals hold the truth in 83 to 99 of 100 simulated cases")
    if once := [r for r in block.rows if r.trained and "cell" in r.evaluations[0].cell.recipe.value["model"]]:
        found.append(f"all seeds share one training of the start, whose luck no interval holds: {_names(once)}")
    return found


def _hows(estimates: Iterable[tuple[str, Estimate]]) -> str:
    """What the intervals are over, with their degrees of freedom and, if that differs, with the rows."""
    rows = list(estimates)
    by_how: dict[str, list[str]] = {}
    for name, estimate in rows:
        by_how.setdefault(estimate.how, []).append(name)
    said, most = [], max(by_how.values(), key=len, default=[])
    for how, names in by_how.items():
        named = f"the {len(names)} other rows" if names is most and len(names) > MOST_LINES else ", ".join(names)
        about = freedoms(e.df for _, e in rows if e.how == how) + [named] * (len(by_how) > 1)
        said.append(how + (f" ({'; '.join(about)})" if about else ""))
    return "; ".join(said)


def missing(unfinished: Iterable[Unfinished]) -> list[str]:
    """Cells and evaluations without a result: their number by cause, and the first failures in full."""
    found = list(unfinished)
    if not found:
        return []
    counts = Counter((u.folder.split("/")[1], u.cause) for u in found)
    said = ", ".join(f"{n} of {algorithm} {cause}" for (algorithm, cause), n in sorted(counts.items()))
    failed = listed([f"{u.folder}: {u.what}" for u in found if u.what], MOST_LINES, "; ")
    return [f"NO RESULT: {said}" + (f" ({failed})" if failed else "")]


def _names(rows: Iterable[Row]) -> str:
    return ", ".join(r.name for r in rows)
