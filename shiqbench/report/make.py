"""``shiqbench report``: a results folder becomes tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_text
from shiqbench.report.blocks import make_blocks
from shiqbench.report.formats import render
from shiqbench.report.known import known_tasks
from shiqbench.report.notes import missing
from shiqbench.report.rows import Report
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
    known = known_tasks(sorted({e.setting.value["task"] for e in index.evaluations.values()}), plugins)
    blocks = make_blocks(index, known, ScoreBook(results), baseline)
    with_results = {e.folder.split("/")[0] for e in index.evaluations.values()}
    orphans = missing(u for u in index.unfinished if u.folder.split("/")[0] not in with_results)
    drawn: list[Path] = []
    if figures is not None:
        from shiqbench.report.curves import draw_curves

        drawn = draw_curves(index, blocks, known, figures)
    return Report(index, blocks, orphans, drawn)


def write_report(report: Report, form: str, output: Path) -> None:
    """Write it whole or not at all."""
    write_text(output, render(report, form))
