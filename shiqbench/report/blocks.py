"""Sorts evaluations into blocks of rows: one block per setting, one row per recipe, with its seeds in the row.

All properties that may not be mixed (data, start, model, settings, engine, versions) are part of the setting or of the
recipe, so they separate blocks or rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.digest import short
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.suggest import did_you_mean
from shiqbench.base.words import listed
from shiqbench.report.apart import told_apart
from shiqbench.report.conclusion import conclusion
from shiqbench.report.estimates import against, over_seeds
from shiqbench.report.findings import find
from shiqbench.report.names import names_of
from shiqbench.report.notes import notes_of
from shiqbench.report.rows import Block, Row
from shiqbench.report.unequal import say_other_engines, say_what_is_unequal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.report.known import KnownTask
    from shiqbench.report.ledger import Ledger
    from shiqbench.report.names import Name
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import EvaluationEntry, Index

MOST_ROWS = 4  # that a message names


def make_blocks(
    index: Index,
    known: Mapping[str, KnownTask],
    book: ScoreBook,
    ledger: Ledger,
    baseline: str | None = None,
    wished: float | None = None,
) -> list[Block]:
    """Make blocks of all finished evaluations, except checkpoints: only curves show these.

    Trials of tuning have blocks of their own.

    Args:
        index: Index of the results.
        known: Known facts about each evaluated task.
        book: Reads single scores.
        ledger: Tells trials and tuning.
        baseline: Algorithm to compare the others with.
        wished: The difference of which the notes say what it needs; None takes a round one.

    Raises:
        ConfigError: No finished cell has the baseline algorithm, or the baseline is several rows wherever it is one.
    """
    by_setting: dict[tuple[str, str, bool], list[EvaluationEntry]] = defaultdict(list)
    for each in index.evaluations.values():
        if each.update is None:  # another version of a task may have another primary metric
            by_setting[each.setting.key, each.primary["name"], each.primary["higher_is_better"]].append(each)
    algorithms = {e.cell.algorithm for found in by_setting.values() for e in found}
    if baseline is not None and (baseline.split() or [""])[0] not in algorithms:
        raise ConfigError(
            f"no finished cell of {baseline!r}{did_you_mean(baseline, algorithms)}",
            where="--baseline",
            do=f"one of {', '.join(sorted(algorithms))}; settings may follow, as in 'shiq beta=0.1'",
        )
    names = names_of(index)
    blocks = []
    for found in by_setting.values():
        tried = [e for e in found if ledger.is_trial(e)]
        compared = {e.cell.recipe.key for e in found if not ledger.is_trial(e)}
        rest = [e for e in found if e.cell.recipe.key in compared]
        if tried and all(e.cell.seed is None for e in rest):
            tried, rest = found, []
        blocks += [replace(_block(e, known, book, names), trials=e is tried) for e in (rest, tried) if e]
    blocks.sort(key=lambda b: (b.task, b.trials, b.split != "test", b.split, b.engine, b.setting, b.metric))
    for task in {b.task for b in blocks}:
        of_task = [b for b in blocks if b.task == task]
        for block, told in zip(of_task, told_apart([b.values for b in of_task]), strict=True):
            block.told = told
    for block in blocks:
        if block.trials:
            block.notes += ledger.choices(block.rows)
        else:
            say_what_is_unequal(block, ledger)
            if baseline is not None:
                _compare(block, baseline, known[block.task], book)
            block.notes.insert(0, conclusion(block, find(block, book, wished)))
        block.notes += notes_of(block, index, known[block.task])
    if baseline is not None:
        _refuse_several(blocks, baseline)
    say_other_engines(blocks)
    return blocks


def _refuse_several(blocks: Sequence[Block], baseline: str) -> None:
    """Refuse a baseline that no table can use because several rows have its name."""
    rows = [b.against(baseline) for b in blocks if not b.trials]
    several = [found for found in rows if len(found) > 1]
    if several and not any(len(found) == 1 for found in rows):
        raise ConfigError(
            f"{len(several[0])} rows are {baseline!r}",
            where="--baseline",
            do=f"add words of one: {_quoted(several[0])}",
        )


def _quoted(rows: Sequence[Row]) -> str:
    return listed([f"'{r.name}'" for r in rows], MOST_ROWS, " or ")


def _block(
    evaluations: Sequence[EvaluationEntry],
    known: Mapping[str, KnownTask],
    book: ScoreBook,
    names: Mapping[str, Name],
) -> Block:
    first, setting = evaluations[0], evaluations[0].setting
    of_recipe: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in evaluations:
        of_recipe[each.cell.recipe.key].append(each)
    groups = [sorted(found, key=lambda e: (e.cell.seed is not None, e.cell.seed)) for found in of_recipe.values()]
    task, metric = known[first.task], first.primary["name"]
    higher = bool(first.primary["higher_is_better"])
    how = book.usable(evaluations, task.scores_of(metric))
    rows = []
    for found in groups:
        cell = found[0].cell
        label, is_start = names[cell.recipe.key]
        estimate = over_seeds(found, how, book)
        rows.append(Row(cell.algorithm, label, cell.start or cell.model, found, estimate, is_start))
    rows.sort(key=lambda r: (not math.isfinite(v := r.estimate.value), -v if higher else v, r.name))
    return Block(
        task=first.task,
        split=first.split,
        engine=first.engine,
        setting=short(setting.key),
        values=setting.value,
        metric=metric,
        higher_is_better=higher,
        columns=task.columns_of(setting.value),
        how=how,
        rows=rows,
    )


def _compare(block: Block, baseline: str, known: KnownTask, book: ScoreBook) -> None:
    theirs = block.against(baseline)
    if len(theirs) != 1:
        why = "it has no row here"
        if theirs:
            why = f"it has {len(theirs)} rows here; add words of one: {_quoted(theirs)}"
        block.notes.append(f"not compared with {baseline}: {why}")
        return
    block.baseline = baseline
    if block.how is None and known.scores_of(block.metric) is not None:
        block.notes.append(f"compared by seed only: {block.metric} is not the mean of scores that the records hold")
    for row in block.rows:
        if row is theirs[0]:
            continue
        why = "they share no scored example"
        try:
            row.difference = against(row.evaluations, theirs[0].evaluations, block.how, book)
        except CorruptCellError as error:
            why = str(error)
        if row.difference is None:
            block.notes.append(f"{row.name} is not compared with {baseline}: {why}")
