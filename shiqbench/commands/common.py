"""Options and helpers that the verbs share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object to standard output; everything else goes to standard error."),
]
Track = Annotated[str | None, typer.Option(help="Log training to tensorboard, wandb, trackio or mlflow.")]
PluginFiles = Annotated[list[Path] | None, typer.Option("--plugin", help="A plugin file to load; repeatable.")]


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn ``["algo.beta=0.05"]`` into ``{"algo.beta": 0.05}``; a value is read as JSON, or else as plain text.

    Raises:
        ConfigError: A text does not have the form ``section.key=value``.
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
    """Write exactly one JSON object to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_markdown(text: str) -> None:
    """Print markdown: unchanged into a file or pipe; on a terminal, tables have the columns that fit the width."""
    if sys.stdout.isatty():
        from rich.console import Console

        from shiqbench.commands.terminal import FittingMarkdown

        Console().print(FittingMarkdown(text))
    else:
        typer.echo(text, nl=False)


def check_page(html: bool, output: Path | None, show: bool) -> None:
    """Check the options of a verb that can write a page.

    Raises:
        ConfigError: A page has no file, or something that is no page is to be opened.
    """
    if html and output is None:
        raise ConfigError("an html page is a file", where="--format html", do="add --output page.html")
    if show and not html:
        raise ConfigError("only a page can be opened", where="--open", do="add --format html --output page.html")


def page_written(output: Path, show: bool) -> None:
    """Say where a page is, and open it in the browser if wanted."""
    typer.echo(f"page: {output}", err=True)
    if show:
        import webbrowser

        if not webbrowser.open(output.resolve().as_uri()):
            typer.echo(f"no browser is found here; open {output} yourself", err=True)


def reading(done: int, total: int) -> None:
    """Show on a terminal how many folders have been read, if there are many."""
    if total > 2000 and sys.stderr.isatty():
        sys.stderr.write(f"\rreading {done} of {total} folders" + ("\n" if done == total else ""))
