"""The command line. Each verb is a few lines here; other modules do the work."""

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
    help=(
        "Train, evaluate and compare fine-tuning algorithms for language models.\n\n"
        "A cell is one algorithm with one task, model, seed and set of settings. "
        "Each cell has its own folder, named after its digest."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_results.app)


def say_version(wanted: bool) -> None:
    """Print the installed version and exit."""
    if wanted:
        import importlib.metadata

        typer.echo(f"shiqbench {importlib.metadata.version('shiqbench')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=say_version, is_eager=True)
    ] = False,
) -> None:
    """Options that every verb takes; :func:`main` reads ``--debug``."""


@app.command()
def run(
    algo: Annotated[str, typer.Option(help="Name of the algorithm; `shiqbench list algorithms` lists all.")],
    task: Annotated[str, typer.Option(help="Name of the task; `shiqbench list tasks` lists all.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model to start from: a folder, a hub name, cell:DIGEST (the weights of a finished cell), or "
            "smollm2-135m-instruct. If left out: the preset's model."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Training seed.")] = 0,
    preset: Annotated[
        str, typer.Option(help="Size of the run: smoke, cpu or full; `shiqbench show TASK` shows what they set.")
    ] = "cpu",
    assign: Annotated[list[str] | None, typer.Option("--set", help="A setting: section.key=value; repeatable.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine for evaluations: vllm or transformers.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Number of evaluations, with consecutive seeds.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="Also evaluate on TASK or TASK:ARG, such as lm_eval:ifeval; repeatable.")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Also evaluate on the validation split after every N updates (a learning curve).")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Log to tensorboard, wandb, trackio or mlflow.")] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate one cell. Finished steps are not repeated."""
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
    from shiqbench.running.runner import describe_run, missing, run_plan

    lines = describe_run(plan)
    # The import is slow. It comes after the check of the request, so that a wrong request fails at once.
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
        str | None, typer.Argument(help="Only this kind: algorithms, tasks, engines, rewards or plugins.")
    ] = None,
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """List algorithms, tasks, engines, reward models and plugins."""
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
        str, typer.Argument(help="Name of an algorithm, task, engine or reward model, or folder or digest of a cell.")
    ],
    data: Annotated[bool, typer.Option("--data", help="Describe the training episodes of a task.")] = False,
    algo: Annotated[str | None, typer.Option(help="With --data: show which episodes this algorithm uses.")] = None,
    model: Annotated[str | None, typer.Option(help="With --data: model whose tokenizer counts the tokens.")] = None,
    preset: Annotated[str | None, typer.Option(help="With --data: preset of the task. If left out: cpu.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="With --data: a setting, section.key=value.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Show a component's settings, a task's data or a cell's results. Settings are shown with their defaults."""
    if data:
        _show_data(
            name, algo, model, preset or "cpu", parse_assignments(assign or ()), results, tuple(plugin or ()), as_json
        )
        return
    for option, value in (("--algo", algo), ("--model", model), ("--preset", preset), ("--set", assign)):
        if value:
            raise ConfigError(f"{option} needs --data", where=f"show {name}", do="add --data, or leave the option out")
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
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Check this model: a folder, a hub name or the embedded one.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Engine to compare with training: transformers or vllm.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="model.template.KEY=VALUE; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Check the installation, or a model. The exit code is 1 if there is a problem."""
    from shiqbench.commands.doctor import diagnose, diagnose_model
    from shiqbench.commands.findings import print_findings

    of_model = model or engine or assign
    findings = diagnose_model(model, engine, parse_assignments(assign or ())) if of_model else diagnose()
    if print_findings(findings, as_json) == "problem":
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a task, or smollm2-135m-instruct (the embedded model).")],
    plugin: PluginFiles = None,
) -> None:
    """Download a task's data or the embedded model before a run."""
    from shiqbench.commands.listing import fetch_asset

    typer.echo(fetch_asset(name, tuple(plugin or ())))


@app.command()
def export(
    cell: Annotated[str, typer.Argument(help="Folder or digest of a finished cell.")],
    form: Annotated[
        str, typer.Option("--format", help="hf for the weights, or a format of the task, such as bfcl for bfcl_v3.")
    ],
    output: Annotated[Path | None, typer.Option(help="New folder; if left out, its name comes from the cell.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="First digits of its digest, if the cell has several.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in the exported files.")] = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Write a cell's weights or an evaluation in the format of another tool."""
    from shiqbench.commands.export import export as write

    done = write(
        cell, form, output=output, evaluation=evaluation, name=name, results=results, plugins=tuple(plugin or ())
    )
    for line in done.notices:
        typer.echo(f"note: {line}", err=True)
    if as_json:
        emit(done.as_json())
        return
    typer.echo(f"{done.folder}: wrote {len(done.files)} file{'s' * (len(done.files) != 1)}; next:")
    for command in done.commands:
        typer.echo(f"  {command}")


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="Kind of plugin: algorithm, task or engine.")],
    name: Annotated[str, typer.Argument(help="Name of the plugin: lower-case letters, digits, underscores.")],
    into: Annotated[Path, typer.Option(help="Folder in which shiqbench-NAME is created.")] = Path(),
) -> None:
    """Write the skeleton of a plugin. Its tests pass without changes."""
    from shiqbench.commands.new import new as write

    skeleton = write(kind, name, into)
    typer.echo(f"{skeleton.folder}: wrote the {kind} {name}; next:")
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
    """Entry point: prints errors in one line and exits with a code of :class:`ExitCode`."""
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
        sys.exit(_fail("interrupted; run the same command again to continue", ExitCode.INTERRUPTED))
    except Exception as error:
        if hasattr(error, "format_message"):
            from shiqbench.commands.usage import usage_line

            sys.exit(_fail(usage_line(error), ExitCode.USAGE))
        if debug:
            raise
        from shiqbench.base.causes import as_disk_error

        line = (
            str(said)
            if (said := as_disk_error(error)) is not error
            else f"{type(error).__name__}: {error}; --debug shows the traceback"
        )
        sys.exit(_fail(line, ExitCode.FAILED))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _fail(line: str, code: int) -> int:
    sys.stderr.write("error: " + let_main_speak_first() + " ".join(line.split()) + "\n")
    return int(code)


if __name__ == "__main__":
    main()
