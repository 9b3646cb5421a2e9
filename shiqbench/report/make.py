"""``shiqbench report``: turns a results folder into tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_text
from shiqbench.plugin.registry import registry
from shiqbench.report.areas import area_table
from shiqbench.report.blocks import make_blocks
from shiqbench.report.curves import of_checkpoints
from shiqbench.report.formats import render
from shiqbench.report.known import known_tasks
from shiqbench.report.ledger import Ledger
from shiqbench.report.logs import LogBook
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
    report = compare(index, known, baseline, found)
    _add_curves(report, known, axis, figures)
    return report


def _add_curves(report: Report, known: Mapping[str, KnownTask], axis: str, figures: Path | None) -> None:
    """Add areas under curves, and figures; trainings whose log cannot be read are named."""
    book, logs = ScoreBook(report.index.results), LogBook(report.index.results)
    curves = of_checkpoints(report.index, known, book, logs, axis)
    report.curves.extend(table for each in curves if (table := area_table(each, axis, book)) is not None)
    if figures is not None:
        from shiqbench.report.curve_figures import draw_curves

        blocks = [b for b in report.blocks if not b.trials]
        drawn, notes = draw_curves(curves, blocks, known, logs, figures, axis)
        report.figures.extend(drawn)
        report.notes.extend(notes)
    report.notes.extend(logs.notes)


def compare(
    index: Index, known: Mapping[str, KnownTask], baseline: str | None = None, found: Registry | None = None
) -> Report:
    """Make the report of an index.

    Args:
        index: Index of the results.
        known: Known facts about each evaluated task.
        baseline: Algorithm to compare the others with.
        found: Registry, for the defaults of algorithms; None takes the installed plugins.
    """
    ledger = Ledger(index, found or registry())
    blocks = make_blocks(index, known, ScoreBook(index.results), ledger, baseline)
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    return Report(index, blocks, [*ledger.wrong, *orphans], ledger=ledger)


def write_report(report: Report, form: str, output: Path) -> None:
    """Write the report to a file, completely or not at all."""
    write_text(output, render(report, form))
