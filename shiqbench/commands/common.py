"""What the verbs share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, the rest on standard error.")]
PluginFiles = Annotated[list[Path] | None, typer.Option("--plugin", help="A local plugin file; repeatable.")]


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
