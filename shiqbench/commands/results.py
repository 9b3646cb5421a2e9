"""The verbs that work on many cells; :mod:`shiqbench.commands.app` registers them."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_text
from shiqbench.commands import sharing
from shiqbench.commands.common import Json, PluginFiles, Track, check_page, emit, page_written, reading, show_markdown
from shiqbench.running.team import launched
from shiqbench.store.folder import named_file, named_folder, results_folder

app = typer.Typer()
app.add_typer(sharing.app)


class Executor(StrEnum):
    """Where a matrix runs."""

    LOCAL = "local"
    RAY = "ray"
    SLURM = "slurm"


Results = Annotated[Path, typer.Argument(help="Results folder.")]
Find = Annotated[
    float | None,
    typer.Option(help="A difference in the metric's unit, such as 0.03: say how many seeds or examples it needs."),
]


@app.command()
def matrix(
    file: Annotated[Path, typer.Argument(help="Matrix file (TOML or YAML); see examples/ and docs/matrix.md.")],
    executor: Annotated[
        Executor, typer.Option(help="Where the cells run: local (this machine), ray or slurm (a cluster).")
    ] = Executor.LOCAL,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of cells that run at the same time. If left out: 1 with local; as many as a cluster takes.",
        ),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="After a failure: stop, or run the other cells.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster. If left out: one is started. With slurm: local, to try it without SLURM."
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Results folder. If left out: the one that the matrix file names.")
    ] = None,
    track: Track = None,
    plugin: PluginFiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    find: Find = None,
    as_json: Json = False,
) -> None:
    """Train and evaluate every cell of a matrix file. Finished steps are not repeated."""
    from shiqbench.matrices.describe import describe_matrix

    launched().place.refuse_several("a matrix", do="start it without a launcher; it starts its own processes")
    from shiqbench.matrices.executors.execute import check_address
    from shiqbench.matrices.plan import make_matrix

    check_address(executor.value, address)
    if check_find(find) is not None and not dry_run:
        raise ConfigError("--find needs --dry-run", where="--find", do="add --dry-run, or leave --find out")
    planned = make_matrix(file, results=results, plugins=tuple(plugin or ()), track=track)
    for line in () if as_json and dry_run else describe_matrix(planned, jobs or 1):
        typer.echo(line, err=not dry_run)
    if dry_run:
        from shiqbench.commands.dry_run import dry_run_matrix

        dry_run_matrix(planned, find, at_once=jobs or 1, slurm=executor is Executor.SLURM, as_json=as_json)
        return
    from shiqbench.matrices.describe import baseline_of
    from shiqbench.matrices.executors import exit_code, summary
    from shiqbench.matrices.run import carry_out, executing

    run = executing(executor=executor.value, at_once=jobs, fail_fast=fail_fast, address=address)
    result = carry_out(planned, run, lambda line: typer.echo(line, err=True))
    for line in summary(result.outcomes):
        typer.echo(line, err=as_json)
    if as_json:
        emit(result.as_json())
    elif result.cells:
        files = "".join(f" --plugin {quote(str(p))}" for p in planned.plugins)
        typer.echo(f"next: shiqbench report {quote(str(planned.results))} --baseline {baseline_of(planned)}{files}")
    if code := exit_code(result.outcomes):
        raise typer.Exit(code)


def check_find(wished: float | None) -> float | None:
    """Refuse a difference that is not above 0."""
    if wished is not None and not 0 < wished < math.inf:
        raise ConfigError(f"{wished:g} is no difference", where="--find", do="give a number above 0, such as 0.03")
    return wished


class Axis(StrEnum):
    """What learning curves are over."""

    UPDATES = "updates"
    TOKENS = "tokens"
    SECONDS = "seconds"


class Form(StrEnum):
    """Format of a report."""

    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"
    HTML = "html"


@app.command()
def report(
    results: Results = Path("results"),
    form: Annotated[Form, typer.Option("--format", help="Format of the report.")] = Form.MARKDOWN,
    output: Annotated[Path | None, typer.Option(help="File to write. If left out: the report is printed.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Algorithm to compare the others with; settings may follow: 'shiq beta=0.1'."),
    ] = None,
    find: Find = None,
    task: Annotated[str | None, typer.Option(help="Only use cells that were trained on this task.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write learning curves to, as svg files.")] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Also say how far each row was asked to move, and how far it moved.")
    ] = False,
    columns: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="With latex: columns of a page of the paper, 1 (if left out) or 2."),
    ] = None,
    axis: Annotated[Axis, typer.Option("--x", help="What learning curves and their areas are over.")] = Axis.UPDATES,
    records: Annotated[
        float, typer.Option(min=0, help="html: most MB of records that the page holds; what is left out is named.")
    ] = 100,
    show: Annotated[bool, typer.Option("--open", help="html: open the page in the browser.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Compare finished cells. There is one table with intervals for each setting."""
    check_page(form is Form.HTML, named_file(output), show)
    named_folder(figures)
    if columns is not None and form is not Form.LATEX:
        raise ConfigError("--columns needs --format latex", where="--columns", do="leave it out, or use --format latex")
    options = {} if columns is None else {"columns": columns}
    how: dict[str, Any] = {
        "task": task,
        "baseline": baseline,
        "find": check_find(find),
        "axis": axis.value,
        "training": training,
        "plugins": tuple(plugin or ()),
        "progress": reading,
    }
    if form is Form.HTML and output is not None:
        from shiqbench.report.page.make import report_page

        drawn = report_page(results, output, figures=figures, largest=records, **how)
        page_written(output, show)
    else:
        from shiqbench.report.formats import render
        from shiqbench.report.make import make_report

        made = make_report(results, figures=figures, **how)
        drawn, text = made.figures, render(made, form, **options)
        if output is not None:
            write_text(output, text)
            typer.echo(f"report: {output}", err=True)
        elif form is Form.MARKDOWN:
            show_markdown(text)
        else:
            typer.echo(text, nl=False)
    for path in drawn:
        typer.echo(f"figure: {path}", err=True)


@app.command()
def front(
    results: Results = Path("results"),
    task: Annotated[
        str | None, typer.Option(help="A task that measures the distance from a reference. If left out: the only one.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Algorithm to compare the others with.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write one svg file per setting to.")] = None,
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Compare algorithms by gain and distance from a reference model. Each algorithm gets one front."""
    from shiqbench.report.front.make import front as draw

    drawn = draw(results, task, baseline=baseline, output=named_folder(output), plugins=tuple(plugin or ()))
    if as_json:
        emit({"fronts": [d.as_json() for d in drawn]})
        return
    for each in drawn:
        show_markdown(f"{each}\n\n")
        if each.figure is not None:
            typer.echo(f"figure: {each.figure}\n")


@app.command()
def diff(
    left: Annotated[str, typer.Argument(help="Folder or digest of a cell, or folder of an evaluation.")],
    right: Annotated[str, typer.Argument(help="The cell or evaluation to compare with.")],
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    as_json: Json = False,
) -> None:
    """Show how two cells or evaluations differ. Differences outside the digest are listed separately."""
    from shiqbench.commands.diff import diff as compare

    found = compare(left, right, results)
    emit(found.as_json()) if as_json else typer.echo("\n".join(found.lines()))


class Shown(StrEnum):
    """Format of a comparison."""

    MARKDOWN = "markdown"
    HTML = "html"


@app.command()
def compare(
    left: Annotated[str, typer.Argument(metavar="A", help="A cell or an evaluation: its folder or first digits.")],
    right: Annotated[str, typer.Argument(metavar="B", help="The cell or evaluation to compare with.")],
    examples: Annotated[
        int | None, typer.Option(min=0, help="Number of examples to show. If left out: 10; all with --json and html.")
    ] = None,
    example: Annotated[str | None, typer.Option(help="Show this example in full.")] = None,
    form: Annotated[Shown, typer.Option("--format", help="Format of the comparison.")] = Shown.MARKDOWN,
    output: Annotated[Path | None, typer.Option(help="File to write. If left out: printed.")] = None,
    show: Annotated[bool, typer.Option("--open", help="html: open the page in the browser.")] = False,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Compare two cells or evaluations, example by example. The examples that differ most come first."""
    html = form is Shown.HTML
    check_page(html, named_file(output), show)
    if as_json and (html or output is not None):
        raise ConfigError("prints JSON to standard output", where="--json", do="leave out --format and --output")
    from shiqbench.commands.compare import compare as make
    from shiqbench.commands.compare import show_comparison

    found = make(left, right, results, tuple(plugin or ()))
    one = None if example is None else found.example(example)
    if html and output is not None:
        from shiqbench.report.page.make import write_page
        from shiqbench.report.page.two import page_of_two

        write_page(page_of_two(found, examples, one), output)
        page_written(output, show)
    else:
        show_comparison(found, one, examples, output=output, as_json=as_json)


@app.command()
def clean(
    results: Results = Path("results"),
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Remove unfinished and failed cells and evaluations, and temporary files of dead processes.",
        ),
    ] = False,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints",
            help="Remove weights and snapshots of finished cells, unless something in this folder needs them.",
        ),
    ] = False,
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Remove weights and snapshots of all finished cells.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Remove unfinished cells or weights. Shows what and how much, and asks first."""
    from shiqbench.commands.clean import Wanted
    from shiqbench.commands.clean_dialog import clean as tidy

    if code := tidy(results, Wanted(partial, checkpoints, all_checkpoints), dry_run=dry_run, yes=yes, as_json=as_json):
        raise typer.Exit(code)


@app.command()
def watch(
    results: Results = Path("results"),
    once: Annotated[bool, typer.Option("--once", help="Show the current state once, then exit.")] = False,
) -> None:
    """Show the progress of running matrices. Ends when no matrix runs."""
    from rich.console import Console

    from shiqbench.commands.watch import watch as show_live

    show_live(results_folder(results), Console(), once=once)
