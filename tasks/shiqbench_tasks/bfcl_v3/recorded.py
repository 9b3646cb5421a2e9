"""Recorded episodes: a folder in the leaderboard's layout, read line by line.

The files are ``result/<model>/[multi_turn/]BFCL_v4_multi_turn_<category>_result.json``, and scores under ``score/`` if
there are any. A message is a list of calls, or text in the leaderboard's or the model's own format of calls. Scores are
computed by playing the calls again. Lines that cannot be used are left out, counted and listed.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, digest, file_sha256
from shiqbench_tasks.bfcl_v3.calls import Call, Outcome, Parsed
from shiqbench_tasks.bfcl_v3.data import load_entries, raw_answers
from shiqbench_tasks.bfcl_v3.recorded_text import find_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

_FILE = re.compile(r"BFCL_(v\d+)_multi_turn_(base|miss_func|miss_param|long_context)_result\.json")
VALID = "valid"  # the label of an episode that the leaderboard's score file does not list as a failure

CUT = "line is not JSON, probably cut off"
UNKNOWN = "no such scenario"
REPEATED = "scenario occurs twice in the file"
ERROR_TEXT = "contains a server's error instead of calls"
STRANGE = "not in the leaderboard's layout"
CUT_AT_ONCE = "ended by a limit in its first turn"
NOT_EVALUATED = "not evaluated"  # the result of a scenario that was not played, in files that must be complete


@dataclass(frozen=True)
class RecordedEpisode:
    """One episode as it was recorded.

    Attributes:
        id: Unique in the folder.
        entry: The scenario.
        model: Name of the model that played it.
        turns: Per user turn, each message as it was parsed.
        label: The recorded score: ``valid``, the official type of error, or None if there is no score.
    """

    id: str
    entry: Entry
    model: str
    turns: tuple[tuple[Parsed, ...], ...]
    label: str | None


@dataclass
class Recording:
    """Contents of a recorded folder.

    Attributes:
        episodes: Episodes, in the order of files and lines.
        left_out: Reason why lines could not be used -> places of these lines, ``file:line``.
        others: Number of readable episodes of categories or scenarios that were not requested.
        texts: File -> format of its messages that are text, number of them, and number of those that make calls.
    """

    episodes: list[RecordedEpisode] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: int = 0
    texts: dict[str, tuple[str, int, int]] = field(default_factory=dict)


def recording_sha256(folder: Path) -> str:
    """Identity of a recorded folder: names and contents of its result and score files.

    Raises:
        ConfigError: There are no result files.
    """
    files = [f for result in _results(folder) for f in (result, _score_file(result)) if f.is_file()]
    return digest({_name(f, folder): file_sha256(f) for f in files})


def read_recording(folder: Path, root: Path, version: DataVersion, entries: Sequence[Entry]) -> Recording:
    """Read the episodes of some scenarios.

    Args:
        folder: A run, its ``result`` folder, or a folder of runs.
        root: Folder of the unpacked wheel.
        version: Version of the data that this run uses.
        entries: The scenarios to read.

    Raises:
        ConfigError: There are no result files, or one was recorded on other data.
    """
    recording = Recording()
    wanted = {entry.id: entry for entry in entries}
    for number, file in enumerate(_results(folder)):
        found = _FILE.fullmatch(file.name)
        assert found is not None
        _check_version(found[1], found[2], file, version)
        known = {entry.id for entry in load_entries(root, found[2], version)}
        labels = _labels(_score_file(file), folder, root, version, found[2], recording.left_out)
        rows: dict[str, list[list[Any]]] = {}
        for place, row in _rows(file, folder, recording.left_out):
            problem = _problem(row, known, rows)
            if problem:
                recording.left_out[problem].append(place)
            else:
                rows[row["id"]] = row["result"]
        texts = [step for result in rows.values() for turn in result for step in turn if isinstance(step, str) and step]
        form, read, calls = find_reader(texts, version.name)
        if texts:
            recording.texts[_name(file, folder)] = (form, len(texts), calls)
        recording.others += len(rows.keys() - wanted.keys())
        for identity in (identity for identity in rows if identity in wanted):
            turns = tuple(tuple(_step(step, read) for step in turn) for turn in rows[identity])
            label = labels.get(identity, labels.get(VALID))
            episode_id = f"{identity}/{number}-recorded"
            recording.episodes.append(RecordedEpisode(episode_id, wanted[identity], _model(file), turns, label))
    return recording


def _results(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError("no such folder", where=f"task.recorded = {folder}", do="give a folder that contains result/")
    files = sorted(f for f in folder.rglob("*_result.json") if _FILE.fullmatch(f.name))
    if not files:
        raise ConfigError(
            "no recorded multi-turn episodes: there is no BFCL_v4_multi_turn_<category>_result.json",
            where=f"task.recorded = {folder}",
            do="give a folder that contains result/<model>/",
        )
    return files


def _name(file: Path, folder: Path) -> str:
    """Name of a file of a recording; the scores of a folder ``result`` are next to that folder."""
    return os.path.relpath(file, folder)


def _score_file(result: Path) -> Path:
    """Path where the leaderboard writes the score of a result file."""
    parts = list(result.parts)
    at = len(parts) - 1 - parts[::-1].index("result") if "result" in parts else None
    if at is not None:
        parts[at] = "score"
    return type(result)(*parts).with_name(result.name.replace("_result.json", "_score.json"))


def _model(file: Path) -> str:
    folder = file.parent.parent if file.parent.name == "multi_turn" else file.parent
    return folder.name


def _check_version(recorded: str, category: str, file: Path, version: DataVersion) -> None:
    from shiqbench_tasks.bfcl_v3.versions import VERSIONS

    if recorded == version.name:
        return
    ours = version.sha256[category][0]
    other = VERSIONS.get(recorded)
    theirs = f"sha256 {other.sha256[category][0][:12]}" if other else "not known here"
    raise ConfigError(
        f"recorded on BFCL {recorded} ({category} is {theirs}), this run uses {version.name} (sha256 {ours[:12]})",
        where=str(file),
        do=f"--set task.data_version={recorded}" if other else "give another folder",
    )


def _rows(file: Path, folder: Path, left_out: dict[str, list[str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every line that is a JSON object."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{_name(file, folder)}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                left_out[CUT].append(place)
                continue
            if isinstance(row, dict):
                yield place, row
            else:
                left_out[STRANGE].append(place)


def _problem(row: dict[str, Any], known: set[str], seen: Container[str]) -> str | None:
    identity, result = row.get("id"), row.get("result")
    if not isinstance(identity, str) or identity not in known:
        return UNKNOWN
    if identity in seen:
        return REPEATED
    if isinstance(result, str):
        return NOT_EVALUATED if result == NOT_EVALUATED else ERROR_TEXT
    if result == []:
        return CUT_AT_ONCE
    if not isinstance(result, list) or not all(isinstance(turn, list) for turn in result):
        return STRANGE
    return None


def _labels(
    file: Path, folder: Path, root: Path, version: DataVersion, category: str, left_out: dict[str, list[str]]
) -> dict[str, str]:
    """Recorded failures by scenario. The key VALID has the label of all others, unless the file is incomplete."""
    if not file.is_file():
        return {}
    truth = raw_answers(root, category, version)
    before = len(left_out[CUT])
    labels: dict[str, str] = {}
    for place, row in _rows(file, folder, left_out):
        if "id" not in row:
            continue  # the first line, the summary
        theirs = row.get("possible_answer")
        if theirs is not None and row["id"] in truth and digest(theirs) != digest(truth[row["id"]]):
            ours = digest(truth[row["id"]])
            raise ConfigError(
                f"scored against another ground truth, sha256 {digest(theirs)[:12]} instead of {ours[:12]}",
                where=place,
                do=f"record it with {version.wheel.requirement}, or remove the score file",
            )
        labels[row["id"]] = row["error"]["error_type"]
    if len(left_out[CUT]) == before:
        labels[VALID] = VALID
    return labels


def _step(raw: Any, read: Callable[[str], Parsed]) -> Parsed:
    """One message: ``[{name: arguments as JSON text}, ...]`` of models with tools, or text of other models."""
    if isinstance(raw, str):
        return read(raw)
    try:
        calls = tuple(_call(name, arguments) for item in raw for name, arguments in item.items())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return Parsed(Outcome.MALFORMED, problem=f"arguments are no JSON object: {error}")
    return Parsed(Outcome.CALLS if calls else Outcome.NO_CALLS, calls)


def _call(name: str, arguments: Any) -> Call:
    values = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(values, dict):
        raise TypeError(f"{type(values).__name__} instead of an object")
    return Call(name, kwargs=values)
