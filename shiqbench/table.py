"""The comparison that ``run`` prints: every finished cell of the same task and setting, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.cell import is_done
from shiqbench.digest import canonical_json
from shiqbench.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from shiqbench.curve import Curve
    from shiqbench.plan import RunPlan

Column = tuple[str, str, str]  # metric, heading, format


@dataclass(frozen=True)
class Row:
    """One evaluated cell.

    Attributes:
        digest: First digits of the train digest.
        recipe: ``config.json`` of the cell.
        manifest: Its manifest.
        metrics: ``metrics.json`` of the evaluation.
        eval_manifest: Manifest of the evaluation.
    """

    digest: str
    recipe: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    eval_manifest: dict[str, Any]


def comparable(plan: RunPlan) -> list[Row]:
    """Finished evaluations under exactly this plan's setting, best first."""
    wanted = canonical_json(plan.setting)
    rows = []
    for config in sorted((plan.cell.results / plan.cell.task.name).glob("*/*/eval/*/config.json")):
        evaluation, cell = config.parent, config.parents[2]
        recipe = read_json(config)
        if canonical_json({k: v for k, v in recipe.items() if k not in ("schema", "train")}) != wanted:
            continue
        if is_done(evaluation) and is_done(cell):
            rows.append(
                Row(
                    cell.name,
                    read_json(cell / "config.json"),
                    read_json(cell / "manifest.json"),
                    read_json(evaluation / "metrics.json"),
                    read_json(evaluation / "manifest.json"),
                )
            )
    better = -1 if rows and rows[0].metrics["primary"]["higher_is_better"] else 1
    return sorted(rows, key=lambda r: (better * r.metrics["primary"]["value"], r.digest))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _settings(row: Row) -> dict[str, Any]:
    recipe = row.recipe
    return flatten({"algo": recipe["algorithm"]["config"], "task": recipe["task"]["config"], "train": recipe["train"]})


def differences(rows: Sequence[Row]) -> list[str]:
    """For each row, the settings in which the rows of its algorithm differ, in one short text."""
    texts = []
    for row in rows:
        peers = [_settings(r) for r in rows if r.recipe["algorithm"]["name"] == row.recipe["algorithm"]["name"]]
        mine = _settings(row)
        keys = [k for k in sorted(mine) if any(canonical_json(p.get(k)) != canonical_json(mine[k]) for p in peers)]
        texts.append(" ".join(f"{k.partition('.')[2]}={brief(mine[k])}" for k in keys))
    return texts


def brief(value: Any) -> str:
    """A setting's value in a few characters."""
    if isinstance(value, list):
        return "+".join(brief(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _start(row: Row) -> str:
    return str(row.manifest.get("start") or row.manifest["model"])


def cells(row: Row, columns: Iterable[Column]) -> list[str]:
    """The values of one row, as text, in the order of :func:`headings`."""
    primary, values = row.metrics["primary"], row.metrics["metrics"]
    train_seconds = row.manifest.get("seconds")
    seed = row.recipe["seed"]
    return [
        row.recipe["algorithm"]["name"],
        row.digest[:6],
        _start(row),
        "-" if seed is None else str(seed),
        f"{_short(primary['value'])} [{_short(primary['low'])}, {_short(primary['high'])}]",
        *(format(values[name], spec) if name in values else "-" for name, _, spec in columns),
        "-" if train_seconds is None else f"{train_seconds:.0f}",
        f"{row.eval_manifest['seconds']['total']:.0f}",
    ]


def _short(value: float) -> str:
    """Three decimals, or two digits of what they would not show."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


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
    return list(dict.fromkeys(line for row in rows for line in plan.task.notes(row.metrics["metrics"])))


def comparison(plan: RunPlan) -> Table:
    """The table for a terminal."""
    from rich.table import Table

    rows = comparable(plan)
    notes = differences(rows)
    primary = rows[0].metrics["primary"]["name"] if rows else "primary"
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
    primary = rows[0].metrics["primary"]["name"] if rows else "primary"
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
            f"{_short(primary['value'])} [{_short(primary['low'])}, {_short(primary['high'])}]",
            *(format(values[name], spec) if name in values else "-" for name, _, spec in columns),
        )
    return table
