"""``shiqbench report``: turns a results folder into tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_text
from shiqbench.plugin.registry import registry
from shiqbench.report.aggregate.scores import aggregate
from shiqbench.report.areas import area_table
from shiqbench.report.blocks import make_blocks
from shiqbench.report.curves import of_checkpoints
from shiqbench.report.formats import render
from shiqbench.report.known import known_tasks
from shiqbench.report.ledger import Ledger
from shiqbench.report.logs import LogBook, unread_notes
from shiqbench.report.notes import missing
from shiqbench.report.rows import Report
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from shiqbench.plugin.registry import Registry
    from shiqbench.report.known import KnownTask
    from shiqbench.store.index import Index


def make_report(
    results: Path,
    *,
    task: str | None = None,
    baseline: str | None = None,
    find: float | None = None,
    figures: Path | None = None,
    axis: str = "updates",
    plugins: tuple[Path, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare everything in a results folder that may be compared.

    Args:
        results: Results folder.
        task: Compare only cells that were trained on this task.
        baseline: Algorithm to compare the others with, seed by seed and example by example.
        find: A difference in the metric's unit; the notes say how many seeds or examples it needs.
        figures: Folder for learning curves; None draws none.
        axis: What learning curves and their areas are over: ``updates``, ``tokens`` or ``seconds``.
        plugins: Local plugin files.
        progress: Receives (number read, number to read).

    Raises:
        ConfigError: Nothing is finished, or the baseline does not exist.
        CorruptCellError: Single scores differ from what was written.
    """
    index = read_index(results, task, progress)
    if all(e.update is not None for e in index.evaluations.values()):
        raise ConfigError(
            "; ".join(["no finished evaluation", *missing(index.unfinished)]),
            where=f"{results}/{task}" if task else str(results),
            do="run something first",
        )
    found = registry(plugins)
    known = known_tasks(index.evaluations.values(), found)
    report = compare(index, known, baseline, found, find)
    book, logs = ScoreBook(results), LogBook(results)
    curves = of_checkpoints(index, known, book, logs, axis)
    report.curves.extend(table for each in curves if (table := area_table(each, axis, book)) is not None)
    if figures is not None:
        drawn, notes = draw_figures(report, known, logs, figures, axis)
        report.figures.extend(drawn)
        report.notes.extend(notes)
    name_unread(report, logs)
    return report


def draw_figures(
    report: Report, known: Mapping[str, KnownTask], logs: LogBook, folder: Path, axis: str = "updates"
) -> tuple[list[Path], list[str]]:
    """Draw the learning curves and the aggregates over tasks of a report.

    Args:
        report: The report.
        known: Known facts about each evaluated task.
        logs: Reads the logs of training, and keeps which cannot be read.
        folder: Folder for the svg files.
        axis: What learning curves are over: ``updates``, ``tokens`` or ``seconds``.

    Returns:
        The files, and notes about what they do not show.
    """
    from shiqbench.report.aggregate.figures import draw_aggregate
    from shiqbench.report.curve_figures import draw_curves

    book = ScoreBook(report.index.results)
    curves = of_checkpoints(report.index, known, book, logs, axis)
    drawn, notes = draw_curves(curves, [b for b in report.blocks if not b.trials], known, logs, folder, axis)
    if report.aggregate is not None and report.aggregate.names:
        drawn += draw_aggregate(report.aggregate, folder)
    return drawn, notes


def name_unread(report: Report, logs: LogBook) -> None:
    """Name each training whose log cannot be read in the notes of its table, or of the report if it has none."""
    unread = dict(logs.unread)
    for block in report.blocks:
        here = [(r, e.cell) for r in block.rows for e in r.evaluations if e.cell.folder in unread]
        block.notes += unread_notes([f"{r.name} seed {cell.seed}: {unread.pop(cell.folder)}" for r, cell in here])
    report.notes.extend(unread_notes([f"{folder}: {why}" for folder, why in unread.items()]))


def compare(
    index: Index,
    known: Mapping[str, KnownTask],
    baseline: str | None = None,
    found: Registry | None = None,
    find: float | None = None,
) -> Report:
    """Make the report of an index.

    Args:
        index: Index of the results.
        known: Known facts about each evaluated task.
        baseline: Algorithm to compare the others with.
        found: Registry, for the defaults of algorithms; None takes the installed plugins.
        find: A difference in the metric's unit; the notes say how many seeds or examples it needs.
    """
    book, ledger = ScoreBook(index.results), Ledger(index, found or registry())
    blocks = make_blocks(index, known, book, ledger, baseline, find)
    over_tasks = aggregate([b for b in blocks if not b.trials], known, book, baseline)
    none = ["no aggregate over tasks: " + "; ".join(over_tasks.left_out)] if over_tasks and not over_tasks.names else []
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    return Report(index, blocks, [*ledger.wrong, *orphans, *none], aggregate=over_tasks, ledger=ledger)


def write_report(report: Report, form: str, output: Path, **options: Any) -> None:
    """Write the report to a file, completely or not at all; the options are those of the format."""
    write_text(output, render(report, form, **options))
