"""The command line. Each verb is a few lines here; other modules do the work."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from shiqbench.base.errors import ExitCode, ShiqbenchError
from shiqbench.commands import completion, lookups
from shiqbench.commands import results as cli_results
from shiqbench.commands.common import Json, PluginFiles, Track, emit, parse_assignments, show_markdown
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
app.add_typer(lookups.app)
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


def use_run_file(context: typer.Context, path: Path | None) -> Path | None:
    """Make the options of a file the defaults of this command, and keep its settings for it."""
    if path is not None:
        from shiqbench.commands.run_file import read_run_file

        # The tab key completes a line that is not whole yet, and prints nothing.
        with suppress(*(ShiqbenchError,) if context.resilient_parsing else ()):
            context.default_map, context.obj = read_run_file(path)
    return path


@app.command()
def run(
    context: typer.Context,
    algo: Annotated[
        str,
        typer.Option(
            help="Name of the algorithm; `shiqbench list algorithms` lists all.", autocompletion=completion.algorithms
        ),
    ],
    task: Annotated[
        str,
        typer.Option(help="Name of the task; `shiqbench list tasks` lists all.", autocompletion=completion.tasks),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML or YAML file with options of this run; options given here override it.",
            callback=use_run_file,
            is_eager=True,
        ),
    ] = None,
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
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting: section.key=value; repeatable.", autocompletion=completion.settings),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Engine for evaluations: vllm or transformers.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Number of evaluations, with consecutive seeds.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="Also evaluate on TASK or TASK:ARG, such as lm_eval:ifeval; repeatable.")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Also evaluate on the validation split after every N updates (a learning curve).")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="best: also keep and evaluate the weights that are best on validation (with --eval-every)."),
    ] = None,
    track: Track = None,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of training and evaluation went.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate one cell. Finished steps are not repeated."""
    from shiqbench.planning.make import make_plan
    from shiqbench.planning.plan import ExactPlan, Request

    plan = make_plan(
        Request(
            algo,
            task,
            model,
            seed,
            preset,
            {**(context.obj or {}), **parse_assignments(assign or ())},
            engine,
            repeats,
            tuple(also or ()),
            eval_every,
            tuple(plugin or ()),
            results,
            track,
            keep,
        )
    )
    team = launched()
    if isinstance(plan, ExactPlan):
        team.place.refuse_several(f"training on {task}", do="start it without a launcher")
    for cell in plan.trained:
        team.place.check(cell.train)
    if not team.place.main:
        from shiqbench.running.follow import follow

        if not dry_run:
            follow(plan, team)
        return
    from shiqbench.running.runner import describe_run, run_plan

    lines = describe_run(plan)
    # The import is slow. It comes after the check of the request, so that a wrong request fails at once.
    from shiqbench.base.progress import Display

    display = Display(track)
    for line in lines:
        display.say(line)
    if dry_run:
        from shiqbench.commands.dry_run import dry_run as show

        show(plan, display, as_json=as_json)
        return
    result = run_plan(plan, display, team=team)
    from shiqbench.commands.profile import profile_table, seconds_of

    seconds = seconds_of(plan) if profile else None
    if as_json:
        for line in plan.task.notes(result.metrics):
            display.say(line)
        emit(result.as_json() | ({"seconds": seconds} if seconds is not None else {}))
        return
    from shiqbench.report.formats import render
    from shiqbench.report.of_run import report_of_run

    show_markdown(render(report_of_run(plan), "markdown"))
    if seconds is not None:
        show_markdown(profile_table(seconds))


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="Kind of plugin: algorithm, task or engine.")],
    name: Annotated[str, typer.Argument(help="Name of the plugin: lower-case letters, digits, underscores.")],
    into: Annotated[Path, typer.Option(help="Folder in which shiqbench-NAME is created.")] = Path(),
    multi_turn: Annotated[
        bool, typer.Option("--multi-turn", help="For a task in which the model answers several times.")
    ] = False,
) -> None:
    """Write the skeleton of a plugin. Its tests pass without changes."""
    from shiqbench.commands.new import new as write

    skeleton = write(kind, name, into, multi_turn=multi_turn)
    typer.echo(f"{skeleton.folder}: wrote the {kind} {name}; next:")
    for command in skeleton.commands:
        typer.echo(f"  {command}")


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
        code = ExitCode.INTERRUPTED
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
    if code == ExitCode.INTERRUPTED:  # typer makes it of Ctrl-C
        sys.exit(_fail("interrupted; run the same command again to continue", ExitCode.INTERRUPTED))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _fail(line: str, code: int) -> int:
    sys.stderr.write("error: " + let_main_speak_first() + " ".join(line.split()) + "\n")
    return int(code)


if __name__ == "__main__":
    main()
