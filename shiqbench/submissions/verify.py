"""``verify``: computes again what a submission says about itself, and names what does not agree.

It runs the installed task on the records, and nothing that the file brings. It cannot tell whether the records are
those of the weights: only training the cell again can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError, CorruptCellError, ShiqbenchError
from shiqbench.base.findings import Finding, State
from shiqbench.base.words import counted, listed
from shiqbench.plugin.registry import registry
from shiqbench.plugin.validation import validate
from shiqbench.report.side_by_side import visible
from shiqbench.stats.agree import SAME_SCORE, agree
from shiqbench.store.cell import SCHEMA
from shiqbench.store.index.reading import read_folder
from shiqbench.submissions.archive import (
    CONFIG,
    DONE,
    MANIFEST,
    METRICS,
    RECORDS,
    Submission,
    facts_of,
    read_object,
    read_submission,
)
from shiqbench.submissions.manifests import wrong_facts
from shiqbench.submissions.records import read_table, record_digests, record_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.task import Record, TaskBase

LONGEST = 600  # characters of a finding
NAMED = 3  # records or metrics that a line names
SAME = 1e-9  # relative difference of metrics: sums in another order


def verify(path: Path, plugins: tuple[Path, ...] = ()) -> list[Finding]:
    """Check a file that ``submit`` wrote.

    Args:
        path: The file.
        plugins: Local plugin files.

    Raises:
        ConfigError: It is no submission.
    """
    return check_submission(read_submission(path), plugins)


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """What does not agree."""
    return [f for f in findings if f.state is State.PROBLEM]


def check_submission(submission: Submission, plugins: tuple[Path, ...] = ()) -> list[Finding]:
    """Check a submission that was read: files, digests, layout, metrics and scores, in this order."""
    found = [*_files(submission)]
    try:
        texts = {
            name: read_object(name, content) for name, content in submission.files.items() if name.endswith(".json")
        }
    except ConfigError as error:
        return [*found, Finding("files", State.PROBLEM, error.what)]
    found += [*_cell(submission, texts), *_tuning(texts)]
    specs = registry(plugins)
    for folder in submission.evaluations:
        found += _evaluation(submission, folder, texts, specs)
    if not submission.evaluations:
        found.append(Finding("evaluation", State.PROBLEM, "there is none"))
    found += _layout(submission, texts)
    return [replace(f, text=_shown(f.text)) for f in found]


def _files(submission: Submission) -> Iterator[Finding]:
    """The checksums of the index; of changed records it says which."""
    names = submission.contents.files
    wrong = [name for name, content in submission.files.items() if facts_of(content) != names[name]]
    for name in wrong:
        yield Finding("files", State.PROBLEM, f"{name} has another sha256 than the index says")
    if not wrong:
        yield Finding(
            "files", State.OK, f"{counted(len(names), 'file')}, {submission.size / 1e6:.1f} MB, match the index"
        )


def _cell(submission: Submission, texts: Mapping[str, Any]) -> Iterator[Finding]:
    """The digest of the cell, and of the cells that it starts from."""
    contents, recipe = submission.contents, texts[f"{submission.cell}/{CONFIG}"]
    task, algorithm, _ = submission.cell.split("/")
    if recipe.get("schema") != SCHEMA:
        yield Finding(
            "cell",
            State.PROBLEM,
            f"its recipe has schema {recipe.get('schema')}, and this shiqbench reads {SCHEMA}",
            "use the shiqbench that made it",
        )
    elif digest(recipe) != contents.digest:
        yield Finding(
            "cell", State.PROBLEM, f"its recipe has the digest {short(digest(recipe))}, not {contents.digest}"
        )
    elif (_name(recipe, "task"), _name(recipe, "algorithm")) != (task, algorithm):
        yield Finding("cell", State.PROBLEM, f"its recipe is not of {algorithm} on {task}")
    else:
        yield Finding("cell", State.OK, f"the recipe gives the digest {short(contents.digest)}: {algorithm} on {task}")
    yield from _starts(recipe, contents.starts)


def _starts(recipe: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    wanted = _start(recipe)
    for start in starts:
        if digest(start) != wanted:
            text = (
                f"a recipe has the digest {short(digest(start))}, and training started from {short(wanted or 'none')}"
            )
            yield Finding("start", State.PROBLEM, text)
            return
        what = f"{_name(start, 'algorithm')} on {_name(start, 'task')}"
        yield Finding("start", State.OK, f"the recipe gives the digest {short(str(wanted))}: {what}")
        wanted = _start(start)
    if wanted is not None:
        yield Finding(
            "start", State.WARNING, f"the recipe of {short(wanted)}, from which training started, is not here"
        )


def _start(recipe: Mapping[str, Any]) -> str | None:
    model = recipe.get("model")
    found = model.get("cell") if isinstance(model, dict) else None
    return found if isinstance(found, str) else None


def _name(recipe: Mapping[str, Any], part: str) -> str:
    found = recipe.get(part)
    return str(found.get("name")) if isinstance(found, dict) else ""


def _tuning(texts: Mapping[str, Any]) -> Iterator[Finding]:
    """The trials of tuning: the file's name is their digest."""
    for name, kept in texts.items():
        if not name.startswith("tuned/"):
            continue
        try:
            cells = [trial["cell"] for trial in kept["trials"]]
            right = name == f"tuned/{short(digest(cells))}.json"
        except (KeyError, TypeError, ValueError):
            cells, right = [], False
        if right:
            yield Finding("tuning", State.OK, f"{counted(len(cells), 'trial')} give the name {name}")
        else:
            yield Finding("tuning", State.PROBLEM, f"{name} is not named by its trials")


def _evaluation(submission: Submission, folder: str, texts: Mapping[str, Any], specs: Registry) -> Iterator[Finding]:
    name = f"evaluation {folder.rpartition('/')[2]}"
    if lacking := [n for n in (CONFIG, MANIFEST, METRICS, RECORDS, DONE) if f"{folder}/{n}" not in submission.files]:
        yield Finding(name, State.PROBLEM, f"it lacks {', '.join(lacking)}")
        return
    config, metrics, manifest = (texts[f"{folder}/{n}"] for n in (CONFIG, METRICS, MANIFEST))
    if config.get("train") != submission.contents.digest:
        of = short(str(config.get("train")))
        yield Finding(name, State.PROBLEM, f"it is an evaluation of the cell {of}, not of this one")
    elif short(digest(config)) != folder.rpartition("/")[2]:
        yield Finding(name, State.PROBLEM, f"its settings have the digest {short(digest(config))}")
    else:
        engine, task = config.get("engine"), config.get("task")
        yield Finding(name, State.OK, f"its settings give its digest: {task} {config.get('version')}, {engine}")
    try:
        table = read_table(submission.files[f"{folder}/{RECORDS}"])
        task_spec = specs.task(str(config.get("task")))
        if config.get("version") != task_spec.version:
            raise ConfigError(
                f"it is of version {config.get('version')} of {task_spec.name}, and {task_spec.version} is installed",
                do="verify it with the shiqbench that made it",
            )
        if not isinstance(config.get("setting"), dict):
            raise ConfigError("its setting is no JSON object")
        played: TaskBase = task_spec.load()(validate(task_spec.load_config(), config["setting"], "task"))
    except ShiqbenchError as error:
        yield Finding(name, State.PROBLEM, error.what, error.do)
        return
    records = table.to_pylist()
    names = record_names(records, played.record_view.title)
    yield from _changed(name, names, record_digests(table), submission.contents.records.get(f"{folder}/{RECORDS}"))
    yield from _rescored(name, played, records, names)
    yield from _metrics(name, played, records, metrics, config)
    if manifest.get("reduced") != played.config.reduced():
        text = "is not" if played.config.reduced() is False else "is"
        yield Finding(name, State.PROBLEM, f"its setting {text} reduced, and the manifest says the opposite")


def _changed(
    name: str, names: Sequence[str], digests: Sequence[str], wanted: Sequence[str] | None
) -> Iterator[Finding]:
    """Which records are not those of the index."""
    if wanted is None or len(wanted) != len(digests):
        yield Finding(name, State.PROBLEM, f"it has {len(digests)} records, and the index {len(wanted or ())}")
        return
    changed = [n for n, a, b in zip(names, digests, wanted, strict=True) if a != b]
    if changed:
        yield Finding(name, State.PROBLEM, f"changed since it was packed: record {listed(changed, NAMED)}")
    else:
        yield Finding(name, State.OK, f"{counted(len(digests), 'record')} are those of the index")


def _rescored(name: str, task: TaskBase, records: Sequence[Record], names: Sequence[str]) -> Iterator[Finding]:
    """Scores that the task computes again from what each record holds."""
    try:
        again = task.rescore(records)
        unlike = [] if again is None else list(_unlike_scores(records, again, names))
    except Exception as error:
        yield Finding(name, State.PROBLEM, f"the task cannot score these records again: {_brief(error)}")
        return
    if again is None:
        text = "the task cannot score its records again: single scores are as submitted"
        yield Finding(name, State.WARNING, text)
    elif unlike:
        yield Finding(name, State.PROBLEM, f"scored again: {listed(unlike, NAMED, '; ')}")
    else:
        columns = sorted({column for row in again for column in row})
        yield Finding(name, State.OK, f"scored again, record by record: {', '.join(columns)}")


def _unlike_scores(records: Sequence[Record], again: Sequence[Record], names: Sequence[str]) -> Iterator[str]:
    for said, row, record in zip(records, again, names, strict=True):
        unlike = [
            f"{c} is {said.get(c)} and must be {v}" for c, v in row.items() if not agree(said.get(c), v, SAME_SCORE)
        ]
        if unlike:
            yield f"record {record}: {listed(unlike, NAMED)}"


def _metrics(
    name: str, task: TaskBase, records: list[Record], said: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Finding]:
    """Metrics that the task computes again from the records."""
    try:
        result = task.metrics(records)
    except Exception as error:
        yield Finding(name, State.PROBLEM, f"the task cannot compute metrics of these records: {_brief(error)}")
        return
    again = {"primary": asdict(result.primary), "metrics": result.metrics, "engine": config.get("engine")}
    unlike = list(_unlike(said, again))
    if unlike:
        yield Finding(name, State.PROBLEM, f"metrics computed again: {listed(unlike, NAMED, '; ')}")
    else:
        primary = f"{result.primary.name} {result.primary.value:.6g}"
        yield Finding(name, State.OK, f"{counted(len(result.metrics), 'metric')} computed again agree: {primary}")


def _unlike(said: Any, again: Any, key: str = "") -> Iterator[str]:
    if isinstance(said, Mapping) and isinstance(again, Mapping):
        for part in sorted({*said, *again}):
            yield from _unlike(said.get(part), again.get(part), f"{key}.{part}" if key else part)
    elif not agree(said, again, SAME):
        yield f"{key} is {said} and must be {again}"


def _layout(submission: Submission, texts: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a report can read it: the DONE files, and what recipes and manifests hold."""
    from pathlib import Path

    with TemporaryDirectory() as name:
        submission.unpack(Path(name))
        wrong = [f"{file}: {why}" for file, text in texts.items() if (why := wrong_facts(file, text))]
        for folder in (submission.cell, *submission.evaluations):
            try:
                read_folder(f"{name}/{folder}")
            except CorruptCellError as error:
                wrong.append(f"{folder}: {error.what}")
    if wrong:
        yield Finding("layout", State.PROBLEM, f"no report can read {listed(wrong, NAMED, '; ')}")
    else:
        yield Finding("layout", State.OK, "a report can read it")


def _shown(text: str) -> str:
    """A text that others have a part in, as one line of bounded length without signs that control a terminal."""
    return visible(" ".join(text.split())[:LONGEST])


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
