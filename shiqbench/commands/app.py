"""The command line. Every verb is a few lines here; what it does lives elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shiqbench.base.errors import ConfigError, ExitCode, ShiqbenchError
from shiqbench.commands import results as cli_results
from shiqbench.commands.common import Json, PluginFiles, emit, parse_assignments, show_markdown
from shiqbench.running.team import launched, let_main_speak_first

app = typer.Typer(
    name="shiqbench",
    help="Train and evaluate fine-tuning algorithms for language models as comparable cells.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_results.app)


def say_version(wanted: bool) -> None:
    """Print the installed version and end."""
    if wanted:
        import importlib.metadata

        typer.echo(f"shiqbench {importlib.metadata.version('shiqbench')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=say_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every verb; ``--debug`` is read in :func:`main`."""


@app.command()
def run(
    algo: Annotated[str, typer.Option(help="Algorithm; see `shiqbench list algorithms`.")],
    task: Annotated[str, typer.Option(help="Task; see `shiqbench list tasks`.")],
    model: Annotated[str | None, typer.Option(help="Folder, hub name, cell:DIGEST, or the embedded model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of training.")] = 0,
    preset: Annotated[
        str, typer.Option(help="smoke, cpu or full; what a task offers is in `shiqbench show TASK`.")
    ] = "cpu",
    assign: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm or transformers.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Evaluations with consecutive seeds.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="TASK or TASK:ARG to evaluate in addition, such as lm_eval:ifeval.")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Also evaluate on validation every N updates: a learning curve.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Experiment tracker, such as tensorboard.")] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate one cell; what is already done is not done again."""
    from shiqbench.planning.make import make_plan
    from shiqbench.planning.plan import ExactPlan, Request

    if track is not None:
        check_tracker(track)
    plan = make_plan(
        Request(
            algo,
            task,
            model,
            seed,
            preset,
            parse_assignments(assign or ()),
            engine,
            repeats,
            tuple(also or ()),
            eval_every,
            tuple(plugin or ()),
            results,
        )
    )
    team = launched()
    if isinstance(plan, ExactPlan):
        team.place.refuse_several(f"training on {task}", do="start it without a launcher")
    if not team.place.main:
        from shiqbench.running.follow import follow

        if not dry_run:
            follow(plan, team)
        return
    from shiqbench.running.runner import describe, missing, run_plan

    lines = describe(plan)
    # Imported once the request is known to be right, so that a wrong one is answered at once.
    from shiqbench.base.progress import Display

    display = Display(track)
    for line in lines:
        display.say(line)
    if dry_run:
        if as_json:
            emit({"cell": plan.cell.digest, "path": str(plan.cell.folder), "missing": missing(plan)})
        return
    result = run_plan(plan, display, team=team)
    if as_json:
        for line in plan.task.notes(result.metrics):
            display.say(line)
        emit(result.as_json())
        return
    from shiqbench.report.formats import render
    from shiqbench.report.of_run import report_of_run

    show_markdown(render(report_of_run(plan), "markdown"))


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="algorithms, tasks, engines, rewards or plugins; all if left out.")
    ] = None,
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """List what is registered, and plugins that did not load."""
    from shiqbench.commands.listing import listing

    found = listing(kind, tuple(plugin or ()))
    if as_json:
        emit(found)
        return
    for name, entries in found.items():
        typer.echo(f"{name}:")
        for entry in entries:
            typer.echo("  " + "  ".join(str(v) for v in entry.values()))


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="An algorithm, task, engine or reward model, or a cell's folder or digest.")
    ],
    data: Annotated[bool, typer.Option("--data", help="Describe a task's training episodes instead.")] = False,
    algo: Annotated[str | None, typer.Option(help="With --data: what this algorithm makes of them.")] = None,
    model: Annotated[str | None, typer.Option(help="With --data: whose tokens are counted.")] = None,
    preset: Annotated[str | None, typer.Option(help="With --data: of the task; cpu if left out.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="With --data: section.key=value.")] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Show a component's settings and defaults, a task's data, or a cell's configuration and results."""
    if data:
        _show_data(
            name, algo, model, preset or "cpu", parse_assignments(assign or ()), results, tuple(plugin or ()), as_json
        )
        return
    for option, value in (("--algo", algo), ("--model", model), ("--preset", preset), ("--set", assign)):
        if value:
            raise ConfigError(f"{option} goes with --data", where=f"show {name}", do="add --data, or leave it out")
    from shiqbench.commands.listing import show_anything

    found = show_anything(name, results, tuple(plugin or ()))
    emit(found) if as_json else typer.echo(_readable(found))


def _show_data(
    task: str,
    algo: str | None,
    model: str | None,
    preset: str,
    settings: dict[str, Any],
    results: Path,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    from shiqbench.commands.show_data import as_tables, training_data

    found = training_data(task, algo, model=model, preset=preset, settings=settings, results=results, plugins=plugins)
    if as_json:
        emit(found)
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for part in as_tables(found):
        console.print(part)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation; exit 1 if something is broken."""
    from shiqbench.commands.doctor import diagnose, render, to_json

    findings = diagnose()
    if as_json:
        emit(to_json(findings))
    else:
        from rich.console import Console

        Console().print(render(findings))
    if any(f.state == "problem" for f in findings):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A task, or the embedded model.")],
    plugin: PluginFiles = None,
) -> None:
    """Get a task's data or the embedded model into the cache ahead of time."""
    from shiqbench.commands.listing import fetch_asset

    typer.echo(fetch_asset(name, tuple(plugin or ())))


@app.command()
def export(
    cell: Annotated[str, typer.Argument(help="A finished cell's folder or digest.")],
    form: Annotated[str, typer.Option("--format", help="hf: the weights. Others are the task's; bfcl_v3 offers bfcl.")],
    output: Annotated[Path | None, typer.Option(help="A new folder; named after the cell if left out.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="Which one, by its digest, if there are several.")] = None,
    name: Annotated[str | None, typer.Option(help="What the model is called there.")] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Write a cell's weights, or an evaluation, as other tools read them."""
    from shiqbench.commands.export import export as write

    done = write(
        cell, form, output=output, evaluation=evaluation, name=name, results=results, plugins=tuple(plugin or ())
    )
    for line in done.notices:
        typer.echo(f"note: {line}", err=True)
    if as_json:
        emit(done.as_json())
        return
    typer.echo(f"{done.folder} holds {len(done.files)} file{'s' * (len(done.files) != 1)}; next:")
    for command in done.commands:
        typer.echo(f"  {command}")


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="algorithm or task.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, underscores.")],
    into: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
) -> None:
    """Write the skeleton of a plugin, whose tests pass as they are."""
    from shiqbench.commands.new import new as write

    skeleton = write(kind, name, into)
    typer.echo(f"{skeleton.folder} holds the {kind} {name}; next:")
    for command in skeleton.commands:
        typer.echo(f"  {command}")


def check_tracker(name: str) -> None:
    """Refuse a tracker that accelerate does not know or that is not installed."""
    import importlib.util

    from shiqbench.base.suggest import did_you_mean

    known = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow"}
    if name not in known:
        raise ConfigError(
            f"unknown tracker {name!r}{did_you_mean(name, known)}",
            where="--track",
            do=f"one of {', '.join(known)}",
        )
    if importlib.util.find_spec(known[name]) is None:
        raise ConfigError(f"{name} is not installed", where="--track", do=f"pip install {known[name]}")


def _readable(value: Any, indent: int = 0) -> str:
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [" " * indent + f"{key}:", _readable(inner, indent + 2)]
        else:
            lines.append(" " * indent + f"{key}: {inner}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors in one line, exit codes as :class:`ExitCode` names them."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    try:
        code = app(words, standalone_mode=False, prog_name="shiqbench")
    except ShiqbenchError as error:
        if debug:
            raise
        for line in error.lines()[:-1]:
            _fail(line, error.exit_code)
        sys.exit(_fail(error.lines()[-1], error.exit_code))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted; the same command continues", ExitCode.INTERRUPTED))
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is not None:
            sys.exit(_fail(f"{usage()}; see --help", ExitCode.USAGE))
        if debug:
            raise
        from shiqbench.base.causes import as_disk_error

        line = (
            str(said)
            if (said := as_disk_error(error)) is not error
            else f"{type(error).__name__}: {error}; --debug shows where"
        )
        sys.exit(_fail(line, ExitCode.FAILED))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _fail(line: str, code: int) -> int:
    sys.stderr.write("error: " + let_main_speak_first() + " ".join(line.split()) + "\n")
    return int(code)


if __name__ == "__main__":
    main()
