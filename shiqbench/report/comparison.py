"""The comparison that ``run`` prints: every finished cell of the same task and setting, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiqbench.base.digest import canonical_json
from shiqbench.base.files import read_json
from shiqbench.report.formats import short_number
from shiqbench.store.index import read_index
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from shiqbench.planning.plan import Curve, RunPlan
    from shiqbench.store.index import CellEntry, EvaluationEntry

Column = tuple[str, str, str]  # metric, heading, format


@dataclass(frozen=True)
class Row:
    """One evaluated cell.

    Attributes:
        digest: First digits of the train digest.
        cell: The cell.
        evaluation: Its evaluation.
    """

    digest: str
    cell: CellEntry
    evaluation: EvaluationEntry


def comparable(plan: RunPlan) -> list[Row]:
    """Finished evaluations under exactly this plan's setting, best first.

    Raises:
        CorruptCellError: A result of this task is not what was written.
    """
    wanted = canonical_json(plan.setting)
    index = read_index(plan.cell.results, plan.cell.task.name).check()
    found = [e for e in index.evaluations.values() if e.update is None and e.setting.text == wanted]
    rows = [Row(e.cell.folder.rpartition("/")[2], e.cell, e) for e in found]
    better = -1 if rows and rows[0].evaluation.primary["higher_is_better"] else 1
    return sorted(rows, key=lambda r: (better * r.evaluation.primary["value"], r.digest))


def differences(rows: Sequence[Row]) -> list[str]:
    """For each row, the settings in which the rows of its algorithm differ, in one short text."""
    return labels([r.cell.recipe.value for r in rows])


def cells(row: Row, columns: Iterable[Column]) -> list[str]:
    """The values of one row, as text, in the order of :func:`headings`."""
    cell, primary, values = row.cell, row.evaluation.primary, row.evaluation.metrics
    return [
        cell.algorithm,
        row.digest[:6],
        cell.start or cell.model,
        "-" if cell.seed is None else str(cell.seed),
        f"{short_number(primary['value'])} [{short_number(primary['low'])}, {short_number(primary['high'])}]",
        *(format(values[name], spec) if name in values else "-" for name, _, spec in columns),
        "-" if cell.seconds is None else f"{cell.seconds:.0f}",
        f"{row.evaluation.seconds:.0f}",
    ]


def headings(plan: RunPlan, primary: str) -> list[str]:
    """Column headings."""
    return [
        "algorithm",
        "cell",
        "start",
        "seed",
        f"{primary} [95 %]",
        *(heading for _, heading, _ in plan.task.table_columns()),
        "train s",
        "eval s",
    ]


def title(plan: RunPlan) -> str:
    """What every row has in common."""
    reduced = "REDUCED setting, not comparable with the official one; " if plan.task.config.reduced() else ""
    how = f"{plan.engine_version} {plan.evaluation.summary()}".strip()
    return f"{plan.name}, {how}; {reduced}* this cell"


def _said(plan: RunPlan, rows: Sequence[Row]) -> list[str]:
    """What the task says of the numbers, each line once."""
    return list(dict.fromkeys(line for row in rows for line in plan.task.notes(row.evaluation.metrics)))


def comparison(plan: RunPlan) -> Table:
    """The table for a terminal."""
    from rich.table import Table

    rows = comparable(plan)
    notes = differences(rows)
    primary = rows[0].evaluation.primary["name"] if rows else "primary"
    table = Table(title=title(plan), title_justify="left", caption="\n".join(_said(plan, rows)), caption_justify="left")
    for heading in [*headings(plan, primary), "differs in"]:
        table.add_column(heading, overflow="fold", justify="left")
    for row, note in zip(rows, notes, strict=True):
        name, *values = cells(row, plan.task.table_columns())
        mine = plan.cell.digest.startswith(row.digest)
        table.add_row(("*" if mine else "") + name, *values, note, style="bold" if mine else "")
    return table


def markdown(plan: RunPlan) -> str:
    """The same table in markdown, for files."""
    rows = comparable(plan)
    primary = rows[0].evaluation.primary["name"] if rows else "primary"
    heads = [*headings(plan, primary), "differs in"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row, note in zip(rows, differences(rows), strict=True):
        lines.append("| " + " | ".join([*cells(row, plan.task.table_columns()), note]) + " |")
    return "\n".join([*lines, "", title(plan).replace("; * this cell", ""), *_said(plan, rows)])


def curve_table(curve: Curve) -> Table:
    """The learning curve for a terminal."""
    from rich.table import Table

    plan = curve.plan
    table = Table(title=f"{plan.cell.label} {plan.evaluation.summary()}, along its training", title_justify="left")
    columns = plan.task.table_columns()
    read = [(p.update, read_json(p.folder / "metrics.json")) for p in curve.points]
    for heading in ("updates", f"{read[0][1]['primary']['name']} [95 %]", *(heading for _, heading, _ in columns)):
        table.add_column(heading, overflow="fold", justify="left")
    for update, found in read:
        primary, values = found["primary"], found["metrics"]
        table.add_row(
            str(update),
            f"{short_number(primary['value'])} [{short_number(primary['low'])}, {short_number(primary['high'])}]",
            *(format(values[name], spec) if name in values else "-" for name, _, spec in columns),
        )
    return table
