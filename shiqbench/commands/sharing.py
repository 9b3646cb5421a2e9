"""The verbs with which results leave: export, submit, verify and board."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from shiqbench.base.errors import ConfigError, ExitCode
from shiqbench.base.words import counted
from shiqbench.commands.common import Json, PluginFiles, emit, page_written, reading
from shiqbench.store.folder import named_file, named_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.base.findings import Finding

app = typer.Typer()


@app.command()
def export(
    cell: Annotated[str, typer.Argument(help="Folder or digest of a finished cell.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="hf for the weights; every-eval-ever or hf-eval-results for an evaluation; or a format of the task, "
            "such as bfcl for bfcl_v3.",
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="New folder; if left out, its name comes from the cell.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="First digits of its digest, if the cell has several.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in the exported files.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="hf-eval-results: the hub's data set with the leaderboard, ORG/NAME[:TASK_ID].")
    ] = None,
    organization: Annotated[str | None, typer.Option(help="every-eval-ever: who ran the evaluation.")] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(help="hf: OWNER/NAME on the hub; shows what would be uploaded there. --yes uploads it."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make the hub's repository public, not private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload to the hub.")] = False,
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Write a cell's weights or an evaluation in the format of another tool."""
    if push_to_hub is not None:
        others = {"--output": output, "--evaluation": evaluation, "--dataset": dataset, "--organization": organization}
        refuse_with_push(form, [option for option, value in others.items() if value is not None])
        from shiqbench.commands.push import push

        pushed = push(cell, push_to_hub, name=name, private=not public, upload=yes, results=results)
        emit(pushed.as_json()) if as_json else typer.echo("\n".join(pushed.lines()))
        return
    for option, given in (("--public", public), ("--yes", yes)):
        if given:
            raise ConfigError("it is for an upload", where=option, do="add --push-to-hub OWNER/NAME, or leave it out")
    from shiqbench.commands.export import export as write

    done = write(
        cell,
        form,
        output=output,
        evaluation=evaluation,
        name=name,
        dataset=dataset,
        organization=organization,
        results=results,
        plugins=tuple(plugin or ()),
    )
    for line in done.notices:
        typer.echo(f"note: {line}", err=True)
    if as_json:
        emit(done.as_json())
        return
    typer.echo(f"{done.folder}: wrote {len(done.files)} file{'s' * (len(done.files) != 1)}; next:")
    for command in done.commands:
        typer.echo(f"  {command}")


def refuse_with_push(form: str, others: Sequence[str]) -> None:
    """Refuse options that an upload of weights cannot honour."""
    if form != "hf":
        raise ConfigError("only weights are uploaded", where="--push-to-hub", do="give --format hf, or leave it out")
    if others:
        raise ConfigError("cannot be used with --push-to-hub", where=others[0], do="leave it out")


@app.command()
def submit(
    cell: Annotated[str, typer.Argument(help="Folder or digest of a finished cell.")],
    into: Annotated[Path, typer.Option(help="Folder for the file; its name comes from the cell.")] = Path(),
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Pack a cell with its evaluations into one file that others can verify. It holds no weights and no local paths."""
    from shiqbench.submissions.pack import submit as pack

    named_folder(into)
    done = pack(cell, into, results=results, plugins=tuple(plugin or ()))
    for line in done.notices:
        typer.echo(f"note: {line}", err=True)
    if as_json:
        emit(done.as_json())
        return
    evaluations = counted(done.evaluations, "evaluation")
    typer.echo(f"{done.path}: {evaluations}, sha256 {done.sha256}; next:")
    typer.echo(f"  shiqbench verify {quote(str(done.path))}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="File that `shiqbench submit` wrote.")],
    plugin: PluginFiles = None,
    as_json: Json = False,
) -> None:
    """Compute digests, metrics and scores of a submission again. The exit code is 1 if something does not agree."""
    from shiqbench.commands.findings import to_json
    from shiqbench.submissions.verify import problems
    from shiqbench.submissions.verify import verify as check

    found = check(file, tuple(plugin or ()))
    wrong = len(problems(found))
    if as_json:
        emit(to_json(found))
    else:
        for line in lines(found):
            typer.echo(line)
        typer.echo(f"refused: {wrong} of {counted(len(found), 'check')} do not agree" if wrong else "verified")
    if wrong:
        raise typer.Exit(ExitCode.FAILED)


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line per finding: its state, its name, and what was found, in columns."""
    width = max(len(f.name) for f in findings)
    return [f"{f.state:8} {f.name:{width}}  {f.text}" + (f"; {f.do}" if f.do else "") for f in findings]


@app.command()
def board(
    folder: Annotated[Path, typer.Argument(help="Folder of submissions, such as a clone of a git repository.")],
    output: Annotated[Path | None, typer.Option(help="File to write. If left out: index.html in the folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page. If left out: the folder's name.")] = None,
    task: Annotated[str | None, typer.Option(help="Only cells that were trained on this task.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Algorithm to compare the others with.")] = None,
    records: Annotated[float, typer.Option(min=0, help="MB of records in the page; 0 for none.")] = 100,
    results: Annotated[
        Path | None, typer.Option(help="New results folder to unpack into, for `shiqbench report` and `compare`.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Make a leaderboard page of a folder of submissions. Those that do not agree with themselves are left out."""
    from shiqbench.submissions.board import write_board

    page = output or folder / "index.html"
    named_file(output)
    made = write_board(
        folder,
        page,
        results=results,
        title=title,
        largest=records,
        plugins=tuple(plugin or ()),
        task=task,
        baseline=baseline,
        progress=reading,
    )
    for line in made.notes:
        typer.echo(line, err=True)
    page_written(page, show)
    if made.refused:
        raise typer.Exit(ExitCode.FAILED)
