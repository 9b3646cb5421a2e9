"""Export: a cell's weights, or a finished evaluation in another project's layout, which its task defines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, read_records, replacing_folder
from shiqbench.base.suggest import did_you_mean
from shiqbench.plugin.registry import registry
from shiqbench.plugin.validation import validate
from shiqbench.store.cell import find_cell, is_done

if TYPE_CHECKING:
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.specs import TaskSpec


MODEL = "hf"
EVERY, HUB = FOR_LEADERBOARDS = ("every-eval-ever", "hf-eval-results")


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        folder: Folder of the exported files.
        files: Paths of the files, relative to the folder.
        notices: Lines that a reader of the files must know.
        commands: Commands to type next.
    """

    folder: Path
    files: tuple[str, ...]
    notices: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return a value that JSON can represent."""
        return {**self.__dict__, "folder": str(self.folder)}


def export(
    cell: str,
    form: str,
    *,
    output: Path | None = None,
    evaluation: str | None = None,
    name: str | None = None,
    dataset: str | None = None,
    organization: str | None = None,
    results: Path = Path("results"),
    plugins: tuple[Path, ...] = (),
) -> Exported:
    """Write a cell's weights or an evaluation in another layout, completely or not at all.

    Args:
        cell: Folder or digest of the cell.
        form: ``hf`` for the weights, ``every-eval-ever`` or ``hf-eval-results`` for an evaluation as leaderboards read
            it, or one of the formats that the cell's task offers.
        output: A new or empty folder; if left out, its name is made from cell and evaluation.
        evaluation: First digits of the evaluation's digest; needed if the cell has several.
        name: Name of the model in the exported files; if left out, the format's default.
        dataset: For ``hf-eval-results``: the hub's data set that has the leaderboard, ``ORG/NAME[:TASK_ID]``.
        organization: For ``every-eval-ever``: who ran the evaluation.
        results: Results folder.
        plugins: Local plugin files.

    Raises:
        ConfigError: There is no such cell, evaluation or format, or the output folder is not empty.
    """
    for option, value, of in (("--dataset", dataset, HUB), ("--organization", organization, EVERY)):
        if value is not None and form != of:
            raise ConfigError(f"cannot be used with --format {form}", where=option, do="leave it out")
    folder = find_cell(cell.removeprefix("cell:"), results)
    if form == MODEL:
        return _model(folder, output, evaluation, name)
    found = registry(plugins)
    if form in FOR_LEADERBOARDS:
        return _for_leaderboards(
            form, _evaluation(folder, evaluation), found, output, name=name, dataset=dataset, organization=organization
        )
    spec = found.task(read_json(folder / "config.json")["task"]["name"])
    task_class = spec.load()
    if form not in task_class.formats:
        offered = (MODEL, *FOR_LEADERBOARDS, *task_class.formats)
        raise ConfigError(
            f"{spec.name} cannot be exported as {form!r}{did_you_mean(form, offered)}",
            where="--format",
            do=f"it offers {', '.join(offered)}",
        )
    chosen = _evaluation(folder, evaluation)
    task = task_class(validate(spec.load_config(), _setting(chosen, spec), "task"))
    target = _new(output or Path(f"{form}-{folder.name}-{chosen.name}"))
    with replacing_folder(target) as temporary:
        notices, commands = task.export(read_records(chosen), form, temporary, target, name)
    return Exported(target, _files(target), tuple(notices), tuple(commands))


def _for_leaderboards(
    form: str,
    evaluation: Path,
    found: Registry,
    output: Path | None,
    *,
    name: str | None,
    dataset: str | None,
    organization: str | None,
) -> Exported:
    """Export one evaluation in a schema that leaderboards read."""
    from shiqbench.commands.export_results import hf_eval_results, read_result, write_every_eval_ever

    result = read_result(evaluation, found)
    target = _new(output or Path(f"{form}-{evaluation.parent.parent.name}-{evaluation.name}"))
    with replacing_folder(target) as temporary:
        if form == HUB:
            told = hf_eval_results(result, temporary, target, dataset, name)
        else:
            told = write_every_eval_ever(result, temporary, target, organization, name)
    return Exported(target, _files(target), *told)


def _model(folder: Path, output: Path | None, evaluation: str | None, name: str | None) -> Exported:
    """Export the weights; the model card lists every evaluation of them."""
    from shiqbench.commands.export_hf import export_model

    if evaluation is not None:
        raise ConfigError("cannot be used: weights have no evaluation", where="--evaluation", do="leave it out")
    target = _new(output or Path(f"{MODEL}-{folder.name}"))
    export_model(folder, target, name)
    return Exported(target, _files(target), commands=(f"shiqbench run --algo base --task TASK --model {target}",))


def _new(target: Path) -> Path:
    """Return the path of a folder that does not exist yet or is empty.

    Raises:
        ConfigError: The folder is not empty, or the path is a file.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError("it exists already", where=f"--output {target}", do="name another folder, or delete it")
    return target.absolute()


def _files(target: Path) -> tuple[str, ...]:
    return tuple(sorted(str(f.relative_to(target)) for f in target.rglob("*") if f.is_file()))


def _evaluation(cell: Path, digits: str | None) -> Path:
    """Return the finished evaluation that the digits name; several matches are an error."""
    done = [f for f in sorted((cell / "eval").glob("*")) if is_done(f)]
    found = [f for f in done if f.name.startswith(digits or "")]
    if len(found) == 1:
        return found[0]
    if not done:
        raise ConfigError("that cell has no finished evaluation", where=str(cell), do="run it first")
    raise ConfigError(
        f"{len(found) or 'no'} evaluations match {digits!r}" if digits else f"that cell has {len(done)} evaluations",
        where=str(cell),
        do="--evaluation takes one of " + ", ".join(f"{f.name} ({_summary(f)})" for f in done),
    )


def _summary(evaluation: Path) -> str:
    """The values in which evaluations of one cell differ."""
    config = read_json(evaluation / "config.json")
    values = config["eval"]
    told = [values.get("split", ""), config["engine"], f"{values.get('repeats', 1)}x"]
    told += [f"at update {config['update']}"] if "update" in config else []
    told += ["of the best weights on validation"] if "best" in config else []
    return " ".join(filter(None, told))


def _setting(evaluation: Path, spec: TaskSpec) -> dict[str, Any]:
    config = read_json(evaluation / "config.json")
    if config["version"] != spec.version:
        raise ConfigError(
            f"that evaluation is of version {config['version']} of {spec.name}, but {spec.version} is installed",
            where=str(evaluation),
            do="run it again",
        )
    setting: dict[str, Any] = config["setting"]
    return setting
