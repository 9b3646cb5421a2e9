"""How findings are shown: a table on a terminal, a line each in a pipe, or one JSON object."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from shiqbench.base.findings import Finding, State, worst
from shiqbench.commands.common import emit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table


def print_findings(findings: Sequence[Finding], as_json: bool) -> State:
    """Print findings, and return the most severe state."""
    if as_json:
        emit(to_json(findings))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(findings_table(findings))
    else:
        for f in findings:
            typer.echo(f"{f.state}  {f.name}: {f.text}" + (f"; {f.do}" if f.do else ""))
    return worst(findings)


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as one JSON object: ``{"state", "findings": [{"name", "state", "text", "do"}]}``."""
    return {"state": str(worst(findings)), "findings": [asdict(finding) for finding in findings]}


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return the findings as a table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    colours = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "do"):
        table.add_column(column, overflow="fold")
    for f in findings:
        table.add_row(f"[{colours[f.state]}]{f.state}", escape(f.name), escape(f.text), escape(f.do))
    return table
