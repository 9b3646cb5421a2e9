"""``shiqbench report``: a results folder becomes tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        results: The folder.
        task: Only cells that were trained on this task.
        baseline: Algorithm to compare the others with, seed by seed and example by example.
        figures: Folder for learning curves; none are drawn without one.
        plugins: Local plugin files.
        progress: Told (read, to read).

    Raises:
        ConfigError: There is nothing finished, or no such baseline.
        CorruptCellError: Single scores are not what was written.
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
    """The report of what is in an index.

    Args:
        index: Of the results.
        known: What is known of each task that was evaluated.
        baseline: Algorithm to compare the others with.
    """
    blocks = make_blocks(index, known, ScoreBook(index.results), baseline)
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    return Report(index, blocks, orphans)


def write_report(report: Report, form: str, output: Path) -> None:
    """Write it whole or not at all."""
    write_text(output, render(report, form))
