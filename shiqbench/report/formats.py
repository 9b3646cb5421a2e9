"""A report as markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiqbench.report.notes import brief_seeds
from shiqbench.report.tables import text_tables

if TYPE_CHECKING:
    import pandas as pd

    from shiqbench.report.rows import Block, Report, Row


def render(report: Report, form: str) -> str:
    """A report in one of the formats: ``markdown``, ``csv``, ``latex`` or ``json``."""
    return FORMATS[form](report)


def markdown(report: Report) -> str:
    """The report in markdown, for a page or a terminal."""
    parts = []
    for title, frame, notes, above in text_tables(report):
        lines = [f"## {title}", "", *(f"**{line}**\n" for line in above), markdown_table(frame)]
        parts.append("\n".join([*lines, *[""] * bool(notes), *(f"- {n}" for n in notes)]))
    return "\n\n".join(parts + [f"- {n}" for n in report.notes]) + "\n"


def markdown_table(frame: pd.DataFrame) -> str:
    """A markdown table with padded columns, so that the raw text is readable too."""
    rows = [[c.replace("|", "\\|") for c in row] for row in (frame.columns, *frame.to_numpy())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def latex(report: Report) -> str:
    r"""LaTeX tables for ``\usepackage{booktabs}``, each with its notes below."""
    parts = ["% needs \\usepackage{booktabs}"]
    for title, frame, notes, over in text_tables(report):
        styled = frame.rename(columns=_escaped).map(_escaped).style.hide(axis="index")
        below = ["\\par\\smallskip\\footnotesize", *(_escaped(n) + "." + r"\\" for n in notes)] if notes else []
        above = ["\\begin{table}", f"\\caption{{{_escaped(title)}.}}", "\\centering"]
        above += [f"\\textbf{{{_escaped(line)}.}}\\par\\smallskip" for line in over]
        parts.append("\n".join([*above, styled.to_latex(hrules=True).rstrip(), *below, "\\end{table}"]))
    return "\n\n".join(parts + [f"% {n}" for n in report.notes]) + "\n"


_ESCAPES = {c: "\\" + c for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


def as_csv(report: Report) -> str:
    """CSV with one line per row of every block, and all digits."""
    import pandas as pd

    rows = [flat(block, row) for block in report.blocks for row in block.rows]
    return pd.DataFrame(rows, dtype=object).to_csv(index=False)  # dtype object keeps whole numbers whole


def as_json(report: Report) -> str:
    """The whole report as JSON, including notes and unfinished cells."""
    blocks = [
        {
            "task": b.task,
            "split": b.split,
            "engine": b.engine,
            "setting": b.setting,
            "values": b.values,
            "metric": b.metric,
            "higher_is_better": b.higher_is_better,
            "baseline": b.baseline,
            "smallest_difference": b.smallest.as_json() if b.smallest else None,
            "rows": [
                {**_numbers(b, r), "cells": [e.cell.folder for e in r.evaluations], "metrics": _metrics(r)}
                for r in b.rows
            ],
            "above": b.above,
            "withheld": b.withheld,
            "tuning_trials": b.trials,
            "notes": b.notes,
        }
        for b in report.blocks
    ]
    unfinished = [{"folder": u.folder, "cause": u.cause, "what": u.what} for u in report.index.unfinished]
    ledger = report.ledger.rows() if report.ledger is not None else []
    whole = {"results": str(report.index.results), "blocks": blocks, "ledger": ledger}
    whole |= {"unfinished": unfinished, "notes": report.notes}
    return json.dumps(_finite(whole), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity, which are no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def flat(block: Block, row: Row) -> dict[str, Any]:
    """A row together with the properties of its block, for a file of rows."""
    of_block = {"task": block.task, "split": block.split, "engine": block.engine, "setting": block.setting}
    return {
        **of_block,
        "metric": block.metric,
        "higher_is_better": block.higher_is_better,
        **_numbers(block, row),
        "baseline": block.baseline or "",
        "above": "; ".join(block.above),
        "withheld": block.withheld,
        "tuning_trials": block.trials,
        "notes": "; ".join(block.notes),
    }


def _numbers(block: Block, row: Row) -> dict[str, Any]:
    e, d = row.estimate, row.difference
    return {
        "algorithm": row.algorithm,
        "differs_in": row.label,
        "start": row.start,
        "seeds": brief_seeds(row.seeds),
        "seed_count": len(row.seeds),
        "value": e.value,
        "low": e.low,
        "high": e.high,
        "interval": e.how,
        "df": e.df,
        "examples": e.examples,
        "difference": d.estimate.value if d else None,
        "difference_low": d.estimate.low if d else None,
        "difference_high": d.estimate.high if d else None,
        "difference_interval": d.estimate.how if d else None,
        "difference_df": d.estimate.df if d else None,
        "p": d.p if d else None,
        "p_holm": d.p_holm if d else None,
        "mark": row.mark,
        "better": d.better if d and not block.withheld else None,
        "worse": d.worse if d and not block.withheld else None,
        "compared_seeds": d.seeds if d else None,
        "baseline_seeds": d.baseline_seeds if d else None,
        "compared_examples": d.units if d else None,
        "left_out_examples": len(d.left_out) if d else None,
        "updates": row.spent("updates"),
        "tokens": row.spent("tokens"),
        "train_tokens": row.train_tokens,
        "train_seconds": row.train_seconds,
        "eval_seconds": row.eval_seconds,
        "reduced": row.reduced,
    }


def _metrics(row: Row) -> dict[str, float]:
    """Means over seeds of the metrics that every seed has, without ends: means of seeds' ends are no interval."""
    names = [name for name in row.evaluations[0].metrics if not name.endswith(("_low", "_high"))]
    found = {name: row.metric(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex, "json": as_json}
