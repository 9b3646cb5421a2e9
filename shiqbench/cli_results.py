"""The verbs that read a results folder; registered by :mod:`shiqbench.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiqbench.cli_common import Json, PluginFiles, emit

app = typer.Typer()
Results = Annotated[Path, typer.Argument(help="Results folder.")]


@app.command()
def front(
    task: Annotated[
        str, typer.Option(help="A task that measures the distance from a reference, such as ultrafeedback.")
    ],
    results: Results = Path("results"),
    baseline: Annotated[str | None, typer.Option(help="Algorithm to compare the others with.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for an svg per setting.")] = None,
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Draw one front per algorithm: what it gains for the distance that it moves."""
    from shiqbench.front.verb import front as draw

    drawn = draw(results, task, baseline=baseline, output=output, plugins=tuple(plugin or ()))
    if as_json:
        emit({"fronts": [d.as_json() for d in drawn]})
        return
    for each in drawn:
        typer.echo(each.markdown() + "\n")
        if each.figure is not None:
            typer.echo(f"figure: {each.figure}\n")
