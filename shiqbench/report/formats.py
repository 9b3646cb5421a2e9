"""A report as markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from shiqbench.report.notes import brief_seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.report.estimates import Estimate
    from shiqbench.report.rows import Block, Report, Row


def short_number(value: float) -> str:
    """Three decimals, or two digits of what they would not show."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


Table = list[list[str]]  # the heading first


def markdown(report: Report) -> str:
    """For a page or a terminal."""
    parts = []
    if len(report.blocks) > 1:
        parts.append("\n".join(["## Overview", "", *_markdown_table(overview(report.blocks))]))
    for block in report.blocks:
        lines = [f"## {block.title}", "", *_markdown_table(table(block)), "", *(f"- {n}" for n in block.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts + [f"- {n}" for n in report.notes]) + "\n"


def latex(report: Report) -> str:
    r"""Tables for ``\usepackage{booktabs}``, notes below each."""
    parts = ["% needs \\usepackage{booktabs}"]
    if len(report.blocks) > 1:
        parts.append(_latex_table(overview(report.blocks), "Primary metrics with 95 % intervals.", []))
    parts += [_latex_table(table(b), b.title + ".", b.notes) for b in report.blocks]
    return "\n\n".join(parts + [f"% {n}" for n in report.notes]) + "\n"


def as_csv(report: Report) -> str:
    """A line per row of every block, numbers in full."""
    text = io.StringIO()
    rows = [flat(block, row) for block in report.blocks for row in block.rows]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(report: Report) -> str:
    """Everything, notes and unfinished cells included."""
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
            "rows": [
                {**_numbers(r), "cells": [e.cell.folder for e in r.evaluations], "metrics": _metrics(r)} for r in b.rows
            ],
            "notes": b.notes,
        }
        for b in report.blocks
    ]
    unfinished = [{"folder": u.folder, "cause": u.cause, "what": u.what} for u in report.index.unfinished]
    whole = {"results": str(report.index.results), "blocks": blocks, "unfinished": unfinished, "notes": report.notes}
    return json.dumps(whole, indent=2) + "\n"


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex, "json": as_json}


def overview(blocks: Sequence[Block]) -> Table:
    """Algorithm x task: the primary metric of every block."""
    names = list(dict.fromkeys(r.name for b in blocks for r in sorted(b.rows, key=lambda r: r.name)))
    several = {b.task for b in blocks if sum(o.task == b.task for o in blocks) > 1}
    heads = [f"{b.task} {b.metric}" + (f" ({b.split}, {b.setting[:6]})" if b.task in several else "") for b in blocks]
    found: Table = [["algorithm", *heads]]
    for name in names:
        values = [[interval(r.estimate) for r in b.rows if r.name == name] for b in blocks]
        found.append([name, *("; ".join(v) or "-" for v in values)])
    return found


def table(block: Block) -> Table:
    """A block in text."""
    labelled = any(r.label for r in block.rows)
    starts = len({r.start for r in block.rows}) > 1
    versus = block.baseline is not None
    head = ["algorithm"] + ["differs in"] * labelled + ["start"] * starts + ["seeds", f"{block.metric} [95 %]"]
    head += [f"less {block.baseline} [95 %]", "better/worse/same", "p"] * versus
    head += [heading for _, heading, _ in block.columns] + ["updates", "tokens", "train s"]
    found: Table = [head]
    for r in block.rows:
        cells = [r.algorithm] + [r.label] * labelled + [r.start] * starts
        cells += [brief_seeds(r.seeds) or "-", interval(r.estimate)]
        cells += _versus(r) if versus else []
        for name, _, spec in block.columns:
            value = r.metric(name)
            cells.append("-" if value is None else format(value, spec))
        cells += [_whole(r.spent("updates")), _whole(r.spent("tokens")), _whole(r.train_seconds)]
        found.append(cells)
    return found


def interval(estimate: Estimate) -> str:
    """A number with its interval, where it has one."""
    if estimate.low is None or estimate.high is None:
        return short_number(estimate.value)
    return f"{short_number(estimate.value)} [{short_number(estimate.low)}, {short_number(estimate.high)}]"


def flat(block: Block, row: Row) -> dict[str, Any]:
    """A row with what its block says of it, for a file of rows."""
    of_block = {"task": block.task, "split": block.split, "engine": block.engine, "setting": block.setting}
    return {
        **of_block,
        "metric": block.metric,
        "higher_is_better": block.higher_is_better,
        **_numbers(row),
        "baseline": block.baseline or "",
        "notes": "; ".join(block.notes),
    }


def _numbers(row: Row) -> dict[str, Any]:
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
        "difference": d.estimate.value if d else None,
        "difference_low": d.estimate.low if d else None,
        "difference_high": d.estimate.high if d else None,
        "difference_interval": d.estimate.how if d else None,
        "better": d.better if d else None,
        "worse": d.worse if d else None,
        "compared_seeds": d.seeds if d else None,
        "compared_examples": d.units if d else None,
        "sign_test_p": d.p if d else None,
        "updates": row.spent("updates"),
        "tokens": row.spent("tokens"),
        "train_seconds": row.train_seconds,
        "reduced": row.reduced,
    }


def _metrics(row: Row) -> dict[str, float]:
    """Means over seeds of what every seed has."""
    found = {name: row.metric(name) for name in row.evaluations[0].metrics}
    return {name: value for name, value in found.items() if value is not None}


def _versus(row: Row) -> list[str]:
    d = row.difference
    if d is None:
        return ["-", "-", "-"]
    total = d.units if d.units is not None else d.seeds
    return [interval(d.estimate), f"{d.better}/{d.worse}/{total - d.better - d.worse}", f"{d.p:.2g}"]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value >= 1e5 else f"{value:.0f}"


def _markdown_table(rows: Table) -> list[str]:
    head, *body = [[c.replace("|", "\\|") for c in row] for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(r) + " |" for r in body)]


_ESCAPES = {c: "\\" + c for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


def _latex_table(rows: Table, caption: str, notes: Sequence[str]) -> str:
    head, *body = [[_escaped(c) for c in row] for row in rows]
    below = ["\\par\\smallskip\\footnotesize", *(_escaped(n) + "." + r"\\" for n in notes)] if notes else []
    return "\n".join(
        [
            "\\begin{table}",
            f"\\caption{{{_escaped(caption)}}}",
            "\\centering",
            f"\\begin{{tabular}}{{{'l' * len(head)}}}",
            "\\toprule",
            " & ".join(head) + r" \\",
            "\\midrule",
            *(" & ".join(row) + r" \\" for row in body),
            "\\bottomrule",
            "\\end{tabular}",
            *below,
            "\\end{table}",
        ]
    )


def render(report: Report, form: str) -> str:
    """A report in one of the formats: ``markdown``, ``csv``, ``latex`` or ``json``."""
    return FORMATS[form](report)
