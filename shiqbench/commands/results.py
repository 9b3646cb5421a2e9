"""The verbs that concern many cells; registered by :mod:`shiqbench.commands.app`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shiqbench.base.errors import ConfigError
from shiqbench.commands.common import Json, PluginFiles, emit, reading, show_markdown
from shiqbench.running.team import launched

app = typer.Typer()


class Executor(StrEnum):
    """Where a matrix runs."""

    LOCAL = "local"
    RAY = "ray"


Results = Annotated[Path, typer.Argument(help="Results folder.")]


@app.command()
def matrix(
    file: Annotated[Path, typer.Argument(help="A matrix file; see examples/ and docs/matrix.md.")],
    executor: Annotated[Executor, typer.Option(help="local, or ray.")] = Executor.LOCAL,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells at the same time; 1 locally.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast/--keep-going", help="Stop with the first failure.")] = False,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; a local one is started if left out.")] = None,
    results: Annotated[Path | None, typer.Option(help="Results folder, in place of the file's.")] = None,
    plugin: PluginFiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate every cell of a file; what is already done is not done again."""
    from shiqbench.matrix.describe import as_json as every_cell
    from shiqbench.matrix.describe import describe

    launched().place.refuse_several("a matrix", do="start it without a launcher; it starts its own processes")
    from shiqbench.matrix.plan import make_matrix

    if address is not None and executor is not Executor.RAY:
        raise ConfigError("--address goes with --executor ray", where="--address", do="add it, or leave it out")
    planned = make_matrix(file, results=results, plugins=tuple(plugin or ()))
    for line in () if as_json and dry_run else describe(planned, jobs or 1):
        typer.echo(line, err=not dry_run)
    if dry_run:
        if as_json:
            emit(every_cell(planned))
        return
    from shiqbench.matrix.executors import exit_code, summary
    from shiqbench.matrix.run import carry_out, executing

    run = executing(executor=executor.value, at_once=jobs, fail_fast=fail_fast, address=address)
    result = carry_out(planned, run, lambda line: typer.echo(line, err=True))
    for line in summary(result.outcomes):
        typer.echo(line, err=as_json)
    if as_json:
        emit(result.as_json())
    if code := exit_code(result.outcomes):
        raise typer.Exit(code)


class Form(StrEnum):
    """What a report is written as."""

    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


@app.command()
def report(
    results: Results = Path("results"),
    form: Annotated[Form, typer.Option("--format", help="markdown, csv, latex or json.")] = Form.MARKDOWN,
    output: Annotated[Path | None, typer.Option(help="File to write; printed if left out.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Algorithm to compare the others with.")] = None,
    task: Annotated[str | None, typer.Option(help="Only cells that were trained on this task.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for learning curves as svg.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Compare everything that may be compared: tables with intervals, one per setting."""
    from shiqbench.report.formats import render
    from shiqbench.report.make import make_report, write_report

    made = make_report(
        results,
        task=task,
        baseline=baseline,
        figures=figures,
        plugins=tuple(plugin or ()),
        progress=reading,
    )
    if output is None and form is Form.MARKDOWN:
        show_markdown(render(made, form))
    elif output is None:
        typer.echo(render(made, form), nl=False)
    else:
        write_report(made, form, output)
        typer.echo(f"report: {output}", err=True)
    for path in made.figures:
        typer.echo(f"figure: {path}", err=True)


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
    from shiqbench.report.front.make import front as draw

    drawn = draw(results, task, baseline=baseline, output=output, plugins=tuple(plugin or ()))
    if as_json:
        emit({"fronts": [d.as_json() for d in drawn]})
        return
    for each in drawn:
        show_markdown(f"{each}\n\n")
        if each.figure is not None:
            typer.echo(f"figure: {each.figure}\n")


@app.command()
def diff(
    left: Annotated[str, typer.Argument(help="A cell's folder or digest, or an evaluation's folder.")],
    right: Annotated[str, typer.Argument(help="The other.")],
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    as_json: Json = False,
) -> None:
    """Explain field by field why two digests differ, and what differs outside of them."""
    from shiqbench.commands.diff import diff as compare

    found = compare(left, right, results)
    emit(found.as_json()) if as_json else typer.echo("\n".join(found.lines()))


@app.command()
def clean(
    results: Results = Path("results"),
    partial: Annotated[
        bool, typer.Option("--partial", help="Unfinished and failed cells and evaluations, and what is left over.")
    ] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Weights of finished cells that nothing here needs.")
    ] = False,
    all_checkpoints: Annotated[bool, typer.Option("--all-checkpoints", help="Weights of all finished cells.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what can be done without; says what and how much, and asks first."""
    from shiqbench.commands.clean import Wanted
    from shiqbench.commands.clean_dialog import clean as tidy

    if code := tidy(results, Wanted(partial, checkpoints, all_checkpoints), dry_run=dry_run, yes=yes, as_json=as_json):
        raise typer.Exit(code)


@app.command()
def watch(
    results: Results = Path("results"),
    once: Annotated[bool, typer.Option("--once", help="Show them as they are now, and end.")] = False,
) -> None:
    """Show the matrices that run in a results folder, until none does."""
    from rich.console import Console

    from shiqbench.commands.watch import watch as show_live

    show_live(results, Console(), once=once)
