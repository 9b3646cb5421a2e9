"""Records in the leaderboard's layout, so that the leaderboard's tools can score them.

A result is a list of turns, a turn is a list of steps, and a step is ``[{name: arguments as JSON text}, ...]``, as
models with tools write it. Only this form survives the official decoders without loss; all arguments are by name. The
official checker then passes ``name(argument=value)`` to ``eval``, so a model's text must not get there unchecked. If a
call ran no tool here, because there is no tool of that name or its cost was refused, it is exported under a name that
cannot exist. The same applies to an argument that no tool could have.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Record, StopReason
from shiqbench_tasks.bfcl_v3.calls import Call
from shiqbench_tasks.bfcl_v3.data import SCENARIOS, load_entries
from shiqbench_tasks.bfcl_v3.recorded import NOT_EVALUATED
from shiqbench_tasks.bfcl_v3.scoring import ErrorType, Scorecard
from shiqbench_tasks.bfcl_v3.simulator import NAME_BEFORE_BRACKET, ToolBox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

# The official tools score only models whose names they know, and the name decides how steps are decoded. These names
# are in both versions, use the form above, and need no API key.
NAMES = (
    "katanemo/Arch-Agent-1.5B",
    "katanemo/Arch-Agent-3B",
    "katanemo/Arch-Agent-7B",
    "katanemo/Arch-Agent-32B",
    "ibm-granite/granite-3.1-8b-instruct",
    "ibm-granite/granite-3.2-8b-instruct",
    "microsoft/Phi-4-mini-instruct-FC",
    "mistralai/Ministral-8B-Instruct-2410",
)
END_OF_TURN = ""  # a step without calls: the text itself is in the inference log
SHOWN = 5

Result = list[list[Any]]


@dataclass
class Run:
    """One repeat.

    Attributes:
        rows: Lines of the result files, by category.
        altered: Episodes that may be scored differently, because the official tools receive other arguments.
        crashed: Episodes that are not scored here.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    altered: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


def write_runs(
    records: Sequence[Record], folder: Path, target: Path, root: Path, version: DataVersion, name: str | None
) -> tuple[list[str], list[str]]:
    """Write ``run-<repeat>/result/<model>/...``, one run for each repeat.

    Args:
        records: Records of one evaluation.
        folder: Folder to write to.
        target: Final place of that folder, for the commands.
        root: Folder of the unpacked wheel.
        version: Version of the data.
        name: One of :data:`NAMES`; None takes the first.

    Returns:
        Notices, and the commands that score the runs.

    Raises:
        ConfigError: The official tools would not read these calls under that name.
    """
    model = name or NAMES[0]
    if model not in NAMES:
        raise ConfigError(
            f"the leaderboard's tools would not read these calls under the name {model!r}",
            where="--name",
            do=f"use one of {', '.join(NAMES)}",
        )
    repeats = sorted({r["repeat"] for r in records})
    runs = {n: _run([r for r in records if r["repeat"] == n], root, version) for n in repeats}
    for number, run in runs.items():
        for category, rows in run.rows.items():
            file = _result_file(folder / f"run-{number}", model, category, version)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return _notices(runs, records, version), _commands(runs, target, model, version)


def _run(records: Sequence[Record], root: Path, version: DataVersion) -> Run:
    run = Run()
    for category in sorted({r["category"] for r in records}):
        entries = load_entries(root, category, version)
        of_category = {r["scenario"]: r for r in records if r["category"] == category}
        rows = []
        for entry in entries:
            record = of_category.get(entry.scenario)
            if record is not None:
                rows.append(_row(record, entry, root, run))
            elif not version.scores_parts:
                rows.append({"id": entry.id, "result": NOT_EVALUATED})
        run.rows[category] = rows
    return run


def _row(record: Record, entry: Entry, root: Path, run: Run) -> dict[str, Any]:
    messages = [{"role": m["role"], "content": m["content"]} for m in json.loads(record["transcript"])]
    if record["stop"] == StopReason.ERROR:
        run.crashed.append(entry.id)
        result: Any = f"Error during inference: {record['error']}"
    else:
        result, faithful = official_result(record, entry, root)
        if not faithful:
            run.altered.append(entry.id)
    return {"id": entry.id, "result": result, "inference_log": messages}


def official_result(record: Record, entry: Entry, root: Path) -> tuple[Result, bool]:
    """The calls of an episode, turn by turn, and whether their official score will be the same as here.

    A turn that a limit cut off is left out. The leaderboard detects by the number of turns that a limit ended an
    episode; with that turn, an episode that was cut off in its last turn would count as finished.
    """
    turns = json.loads(record["steps"])
    if record["error_type"] == ErrorType.FORCE_TERMINATED:
        turns.pop()
    toolbox, scorecard = ToolBox(entry, root), Scorecard(entry, root)
    result: Result = []
    rewritten = False
    for turn in turns:
        steps: list[Any] = []
        responses = []
        for step in turn:
            calls = [Call(name, tuple(args), kwargs) for name, args, kwargs in step]
            exported = []
            for call in calls:
                name, arguments = _by_name(call, toolbox)
                rewritten |= _rewritten(call, toolbox)
                exported.append({name: json.dumps(arguments)})
                responses.append(toolbox.dispatch(call))
            steps.append(exported)
        scorecard.end_turn(toolbox.instances, responses)
        result.append([*steps, END_OF_TURN])
    # Records contain JSON: a tuple that changed the score when it was played is now a list.
    return result, not rewritten and scorecard.verdict().error_type == record["error_type"]


def _by_name(call: Call, toolbox: ToolBox) -> tuple[str, dict[str, Any]]:
    """Name and arguments with which the official tools do the same as the call did here."""
    method = toolbox.reached(call)
    names = list(inspect.signature(method).parameters) if method else []
    arguments: dict[str, Any] = {}
    for position, value in enumerate(call.args):
        taken = position < len(names) and names[position] not in call.kwargs
        arguments[names[position] if taken else f"no_such_argument_{position}"] = value
    for key, value in call.kwargs.items():
        known = key in names or (key.isascii() and key.isidentifier())
        arguments[key if known else "no_such_argument_" + re.sub(r"\W", "_", key, flags=re.ASCII)] = value
    name = call.name if method else "no_such_tool_" + re.sub(r"\W", "_", call.name, flags=re.ASCII)
    return name, arguments


def _rewritten(call: Call, toolbox: ToolBox) -> bool:
    """Whether the official executor, which looks for tools' names everywhere, finds one in an argument's text."""
    if toolbox.reached(call) is None:
        return False
    found = NAME_BEFORE_BRACKET.findall(repr([call.args, call.kwargs]))
    return any(toolbox.reached(Call(name)) is not None for name in found)


def _result_file(run: Path, model: str, category: str, version: DataVersion) -> Path:
    folder = run / "result" / model.replace("/", "_") / version.result_folder
    return folder / f"{version.prefix}_multi_turn_{category}_result.json"


def _notices(runs: dict[int, Run], records: Sequence[Record], version: DataVersion) -> list[str]:
    """Notices about episodes that the official numbers leave out or count differently."""
    lines = [] if version.scores_parts else _whole_categories(runs, records, version)
    for number, run in runs.items():
        if run.crashed:
            lines.append(
                f"run-{number}: {_some(run.crashed)} crashed: counted as wrong by the leaderboard, not scored here"
            )
        if run.altered:
            lines.append(
                f"run-{number}: {_some(run.altered)} may be scored differently: the layout has no tuples and no dicts "
                "with numbers as keys, and the leaderboard's tools rewrite a tool's name before a bracket in a text"
            )
    played = {(r["category"], r["scenario"]) for r in records}
    return lines + [
        f"multi_turn_{category}_{scenario} has more answers than questions: the leaderboard always reports it as "
        "force-terminated"
        for category, scenario in version.merged_answers
        if (category, scenario) in played
    ]


def _whole_categories(runs: dict[int, Run], records: Sequence[Record], version: DataVersion) -> list[str]:
    lines = []
    for category in _categories(runs):
        rows = [r for r in records if r["category"] == category]
        count = len({r["scenario"] for r in rows})
        if count < SCENARIOS:
            right = [str(sum(bool(r["valid"]) for r in rows if r["repeat"] == number)) for number in runs]
            lines.append(
                f"{version.wheel.requirement} scores whole categories only: the {SCENARIOS - count} scenarios of "
                f"{category} that were not evaluated count as wrong there. Expect a correct_count of "
                f"{', '.join(right)}, out of {SCENARIOS} there and out of {count} here"
            )
    return lines


def _categories(runs: dict[int, Run]) -> list[str]:
    return sorted({category for run in runs.values() for category in run.rows})


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more


def _commands(runs: dict[int, Run], target: Path, model: str, version: DataVersion) -> list[str]:
    categories = ",".join(f"multi_turn_{category}" for category in _categories(runs))
    partial = " --partial-eval" if version.scores_parts else ""
    # One of its dependencies imports soundfile but does not declare it.
    return [f"pip install {version.wheel.requirement} soundfile  # in a separate environment"] + [
        f"BFCL_PROJECT_ROOT={shlex.quote(str(target / f'run-{number}'))} bfcl evaluate --model {model} "
        f"--test-category {categories}{partial}"
        for number in runs
    ]
