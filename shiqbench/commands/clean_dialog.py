"""The dialog of ``shiqbench clean``: the table, the question, the result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from shiqbench.base.errors import ConfigError, ExitCode
from shiqbench.commands.clean import as_json as to_json
from shiqbench.commands.clean import find
from shiqbench.commands.common import emit
from shiqbench.commands.removal import Removal, as_size, remove

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.commands.clean import Wanted


def clean(results: Path, wanted: Wanted, *, dry_run: bool, yes: bool, as_json: bool) -> ExitCode:
    """Show what would be removed, ask, and remove it.

    Returns:
        FAILED if something could not be removed.

    Raises:
        ConfigError: Nothing is selected, there is no such folder, or there is no terminal to ask on.
    """
    found = find(results, wanted)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise ConfigError(
            "there is no terminal for the question", where="clean", do="add --yes, or --dry-run to only look"
        )
    for line in found.lines():
        typer.echo(line, err=as_json)
    outcome = None if dry_run else Removal()
    if outcome is not None and found.items:
        if not yes:
            question = f"Remove these {len(found.items)} ({as_size(found.size)})?"
            if not typer.confirm(question, err=True):
                typer.echo("nothing was removed", err=True)
                return ExitCode.DONE
            shown = {item.path for item in found.items}  # search again: an item that is needed by now is kept
            found = find(results, wanted)
            found.items = [item for item in found.items if item.path in shown]
        outcome = remove(found.items)
        for line in outcome.lines():
            typer.echo(line, err=as_json)
    if as_json:
        emit(to_json(found, outcome))
    return ExitCode.FAILED if outcome is not None and outcome.failed else ExitCode.DONE
