"""The report that ``run`` prints: restricted to the settings of the run, with the row of the run marked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.digest import digest, short
from shiqbench.report.best import best_tables
from shiqbench.report.estimates import over_seeds
from shiqbench.report.known import known_tasks
from shiqbench.report.make import compare
from shiqbench.report.scores import ScoreBook
from shiqbench.report.tables import curve_table
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from shiqbench.planning.plan import RunPlan
    from shiqbench.report.estimates import Estimate
    from shiqbench.report.rows import Report
    from shiqbench.store.index import EvaluationEntry


def report_of_run(plan: RunPlan) -> Report:
    """Report every finished cell that may be compared with this one: a block for each task that the run evaluates."""
    results, cell = plan.cell.results, plan.cell
    index = read_index(results, cell.task.name)
    names = {short(digest(p.setting)): p.name for p in (plan, *plan.also)}
    shared = {f: e for f, e in index.evaluations.items() if short(e.setting.key) in names}
    known, book = known_tasks(index.evaluations.values(), plan.found), ScoreBook(results)
    made = compare(replace(index, evaluations=shared), known, book, plan.found)
    report = replace(made, aggregate=None, ledger=None)

    def estimate(of: EvaluationEntry) -> Estimate:
        how = known[of.task].scores_of(of.primary["name"])
        return over_seeds([of], book.usable([of], how), book)

    report.blocks.sort(key=lambda b: list(names).index(b.setting))
    for block in report.blocks:
        block.task = names[block.setting]  # as typed, such as lm_eval:ifeval
        for row in block.rows:
            for each in row.evaluations:
                if results / each.cell.folder == cell.folder:
                    row.own = True
                    seed = "" if cell.seed is None else f", seed {cell.seed}"
                    block.notes.insert(0, f"this run (*): {cell.label}{seed}, {block.metric} {estimate(each)}")
    if plan.curve is not None:
        on = plan.curve.plan
        points = {p.update: index.evaluations[str(p.folder.relative_to(results))] for p in plan.curve.points}
        title = f"{cell.label} {on.evaluation.summary()}, during its training"
        estimates = {update: estimate(e) for update, e in points.items()}
        report.curves.append(curve_table(points, estimates, on.task.table_columns(), title))
    report.curves.extend(best_tables(shared.values(), known, book))
    return report
