"""``shiqbench report``: turns a results folder into tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_text
from shiqbench.plugin.registry import registry
from shiqbench.report.blocks import make_blocks
from shiqbench.report.formats import render
from shiqbench.report.known import known_tasks
from shiqbench.report.notes import missing
from shiqbench.report.rows import Report
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from shiqbench.report.known import KnownTask
    from shiqbench.store.index import Index


def make_report(
    results: Path,
    *,
    task: str | None = None,
    baseline: str | None = None,
    figures: Path | None = None,
    plugins: tuple[Path, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare everything in a results folder that may be compared.

    Args:
        results: Results folder.
        task: Compare only cells that were trained on this task.
        baseline: Algorithm to compare the others with, seed by seed and example by example.
        figures: Folder for learning curves; None draws none.
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
    known = known_tasks(index.evaluations.values(), registry(plugins))
    report = compare(index, known, baseline)
    if figures is not None:
        from shiqbench.report.curves import draw_curves

        report.figures.extend(draw_curves(index, report.blocks, known, figures))
    return report


def compare(index: Index, known: Mapping[str, KnownTask], baseline: str | None = None) -> Report:
    """Make the report of an index.

    Args:
        index: Index of the results.
        known: Known facts about each evaluated task.
        baseline: Algorithm to compare the others with.
    """
    blocks = make_blocks(index, known, ScoreBook(index.results), baseline)
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    return Report(index, blocks, orphans)


def write_report(report: Report, form: str, output: Path, **options: Any) -> None:
    """Write the report to a file, completely or not at all; the options are those of the format."""
    write_text(output, render(report, form, **options))
