"""What the verbs share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, the rest on standard error.")]
PluginFiles = Annotated[list[Path] | None, typer.Option("--plugin", help="A local plugin file; repeatable.")]


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["algo.beta=0.05"]`` to ``{"algo.beta": 0.05}``; a value is JSON, or else plain text.

    Raises:
        ConfigError: Not of the form ``section.key=value``.
    """
    found: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} assigns nothing", where="--set", do="write --set section.key=value")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def emit(value: Any) -> None:
    """Exactly one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_markdown(text: str) -> None:
    """Markdown as it is, so that it may go to a file; on a terminal its tables fit the width."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        typer.echo(text, nl=False)


def reading(done: int, total: int) -> None:
    """Say on a terminal how far the reading of a large folder is."""
    if total > 2000 and sys.stderr.isatty():
        sys.stderr.write(f"\rreading {done} of {total} folders" + ("\n" if done == total else ""))
