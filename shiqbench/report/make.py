"""``shiqbench report``: turns a results folder into tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.registry import registry
from shiqbench.report.aggregate.scores import aggregate
from shiqbench.report.areas import area_table
from shiqbench.report.best import best_tables
from shiqbench.report.blocks import make_blocks
from shiqbench.report.curves import of_checkpoints
from shiqbench.report.known import known_tasks
from shiqbench.report.ledger import Ledger, trained_rows
from shiqbench.report.logs import LogBook, unread_notes
from shiqbench.report.notes import missing
from shiqbench.report.rows import Report
from shiqbench.report.scores import ScoreBook
from shiqbench.report.training import training_table
from shiqbench.store.folder import refuse_other, results_folder
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.plugin.registry import Registry
    from shiqbench.report.curves import Curves
    from shiqbench.report.known import KnownTask
    from shiqbench.store.index import Index


def make_report(
    results: str | Path,
    *,
    task: str | None = None,
    baseline: str | None = None,
    find: float | None = None,
    figures: str | Path | None = None,
    axis: str = "updates",
    training: bool = False,
    plugins: Sequence[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare everything in a results folder that may be compared.

    Args:
        results: Results folder.
        task: Compare only cells that were trained on this task.
        baseline: Algorithm to compare the others with, example by example.
        find: A difference in the metric's unit; the notes say how many seeds or examples it needs.
        figures: Folder for learning curves; None draws none.
        axis: What learning curves and their areas are over: ``updates``, ``tokens`` or ``seconds``.
        training: Also say of each trained row how far it was asked to move and how far it moved.
        plugins: Local plugin files.
        progress: Receives (number read, number to read).

    Raises:
        ConfigError: There is no such folder or task, nothing is finished, or the baseline does not exist.
        CorruptCellError: Single scores differ from what was written.
    """
    results = results_folder(results)
    index = read_index(results, task, progress)
    if all(e.update is not None for e in index.evaluations.values()):
        if not index.cells:
            refuse_other(results, task)
        raise ConfigError(
            "; ".join(["no finished evaluation", *missing(index.unfinished)]),
            where=f"{results}/{task}" if task else str(results),
            do="run something first",
        )
    found = registry(tuple(map(Path, plugins)))
    known = known_tasks(index.evaluations.values(), found)
    book, logs = ScoreBook(results), LogBook(results)
    report = compare(index, known, book, found, baseline, find)
    curves = of_checkpoints(index, known, book, logs, axis)
    report.curves.extend(table for each in curves if (table := area_table(each, axis, book, baseline)) is not None)
    report.curves.extend(best_tables(index.evaluations.values(), known, book))
    if training and (rows := trained_rows(report.blocks)):
        report.training.append(training_table(list(rows.values()), logs, found))
    if figures is not None:
        _draw(report, curves, logs, Path(figures), axis)
    _name_unread(report, logs)
    return report


def _draw(report: Report, curves: Sequence[Curves], logs: LogBook, folder: Path, axis: str) -> None:
    from shiqbench.report.aggregate.figures import draw_aggregate
    from shiqbench.report.curve_figures import draw_curves

    blocks = [b for b in report.blocks if not b.trials]
    drawn, notes = draw_curves(curves, blocks, report.known, logs, folder, axis)
    report.figures.extend(drawn)
    report.notes.extend(notes)
    if report.aggregate is not None and report.aggregate.names:
        report.figures.extend(draw_aggregate(report.aggregate, folder))


def _name_unread(report: Report, logs: LogBook) -> None:
    """Name each training whose log cannot be read in the notes of its table, or of the report if it has none."""
    unread = dict(logs.unread)
    for block in report.blocks:
        here = [(r, e.cell) for r in block.rows for e in r.evaluations if e.cell.folder in unread]
        block.notes += unread_notes([f"{r.name} seed {cell.seed}: {unread.pop(cell.folder)}" for r, cell in here])
    report.notes.extend(unread_notes([f"{folder}: {why}" for folder, why in unread.items()]))


def compare(
    index: Index,
    known: Mapping[str, KnownTask],
    book: ScoreBook,
    found: Registry,
    baseline: str | None = None,
    find: float | None = None,
) -> Report:
    """Make the report of an index, without curves and figures.

    Args:
        index: Index of the results.
        known: Known facts about each evaluated task.
        book: Reads single scores.
        found: Registry, for the defaults of algorithms.
        baseline: Algorithm to compare the others with.
        find: A difference in the metric's unit; the notes say how many seeds or examples it needs.
    """
    ledger = Ledger(index, found)
    blocks = make_blocks(index, known, book, ledger, baseline, find)
    over_tasks = aggregate([b for b in blocks if not b.trials], known, book, baseline)
    # With tasks, the table per task says it.
    none = [f"no aggregate over tasks: {over_tasks.why_not}"] if over_tasks and not over_tasks.tasks else []
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    notes = [*ledger.wrong, *orphans, *none]
    return Report(index, known, blocks, notes, aggregate=over_tasks, ledger=ledger)
