"""The verbs ``list``, ``show``, ``doctor`` and ``fetch``; :mod:`shiqbench.commands.app` registers them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shiqbench.base.errors import ConfigError, ExitCode
from shiqbench.commands import completion
from shiqbench.commands.common import Json, PluginFiles, emit, parse_assignments

app = typer.Typer()


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
    if sys.stdout.isatty():
        from shiqbench.commands.tables import print_list

        print_list(found)
        return
    for name, entries in found.items():
        typer.echo(f"{name}:")
        for entry in entries:
            typer.echo("  " + "  ".join(str(v) for v in entry.values()))


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of an algorithm, task, engine or reward model, or folder or digest of a cell; or your data file."
        ),
    ],
    data: Annotated[
        bool, typer.Option("--data", help="Describe the training episodes of a task, or of your own data file.")
    ] = False,
    algo: Annotated[
        str | None,
        typer.Option(
            help="With --data: show which episodes this algorithm uses.", autocompletion=completion.algorithms
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="With --data: model whose tokenizer counts the tokens.")] = None,
    preset: Annotated[str | None, typer.Option(help="With --data: preset of the task. If left out: cpu.")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --data: a setting, section.key=value.", autocompletion=completion.settings),
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
    if as_json:
        emit(found)
    elif sys.stdout.isatty():
        from shiqbench.commands.tables import print_facts

        print_facts(found)
    else:
        typer.echo(_readable(found))


def _readable(value: Any, indent: int = 0) -> str:
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [" " * indent + f"{key}:", _readable(inner, indent + 2)]
        else:
            lines.append(" " * indent + f"{key}: {inner}")
    return "\n".join(lines)


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
    fix: Annotated[
        bool, typer.Option("--fix", help="Uninstall torchvision, torchaudio and torchcodec if they break imports.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the installation, or a model. The exit code is 1 if there is a problem."""
    from shiqbench.base.progress import waiting
    from shiqbench.commands.doctor import diagnose, diagnose_model
    from shiqbench.commands.findings import print_findings

    of_model = model or engine or assign
    if fix:
        from shiqbench.base.companions import remove_companions

        for name in remove_companions():
            typer.echo(f"uninstalled {name}", err=True)
    with waiting(f"checking the {'model' if of_model else 'installation'}"):
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
