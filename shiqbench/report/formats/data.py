"""A report as data, with all digits: CSV with a line per row, JSON of everything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shiqbench.report.cells import one_line, unique
from shiqbench.report.notes import brief_seeds
from shiqbench.report.tables import text_tables

if TYPE_CHECKING:
    from shiqbench.report.rows import Block, Report, Row


METRIC = "metrics."  # before a metric's name in CSV, so that it never is a name of ours


def as_csv(report: Report) -> str:
    """CSV with one line per row of every block, and all digits; nothing where a number is not finite or missing."""
    import pandas as pd

    rows = [
        {
            name: one_line(value) if isinstance(value, str) else _finite(value)
            for name, value in flat(block, row).items()
        }
        for block in report.blocks
        for row in block.rows
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    ordered = sorted(
        names, key=lambda name: name.startswith(METRIC)
    )  # a metric that is missing in a row stays in place
    frame = pd.DataFrame(rows, columns=pd.Index(ordered), dtype=object)  # dtype object keeps whole numbers whole
    frame.columns = pd.Index(unique(ordered))
    return frame.to_csv(index=False)


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
                {**of_row(b, r), "cells": [e.cell.folder for e in r.evaluations], "metrics": _metrics(r)}
                for r in b.rows
            ],
            "above": b.above,
            "withheld": b.withheld,
            "tuning_trials": b.trials,
            "notes": b.notes,
        }
        for b in report.blocks
    ]
    unfinished = [asdict(u) for u in report.index.unfinished]
    of_blocks = {b.title for b in report.blocks}
    tables = [
        {
            "title": t.title,
            **t.frame.to_dict(orient="split", index=False),
            "above": list(t.above),
            "notes": list(t.notes),
        }
        for t in text_tables(report)
        if t.title not in of_blocks
    ]
    ledger = report.ledger.rows() if report.ledger is not None else []
    whole = {"results": str(report.index.results), "blocks": blocks, "tables": tables, "ledger": ledger}
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
        **of_row(block, row),
        "baseline": block.baseline or "",
        "above": "; ".join(block.above),
        "withheld": block.withheld,
        "tuning_trials": block.trials,
        "notes": "; ".join(block.notes),
        "cells": " ".join(e.cell.folder for e in row.evaluations),
        **{METRIC + name: value for name, value in _metrics(row).items()},
    }


def of_row(block: Block, row: Row) -> dict[str, Any]:
    """The numbers of a row by name; docs/report.md says what each is."""
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
