"""Exported runs: the leaderboard's own tools score them exactly as we do, and read back they are what they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from official import DECODE, EVALUATE, run_official
from shiqbench_tasks.bfcl_v3 import offline
from shiqbench_tasks.bfcl_v3.calls import Call, Outcome, Parsed, write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.leaderboard import NAMES, official_result, write_runs
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.metrics import record
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.prompt import REDUCED
from shiqbench_tasks.bfcl_v3.recorded import read_recording
from shiqbench_tasks.bfcl_v3.scoring import ErrorType
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, V3, V4, VERSIONS

from shiqbench.base.errors import ConfigError
from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

Record = dict[str, Any]
every_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
UNWINNABLE = {f"multi_turn_{category}_{scenario}" for category, scenario in V3.merged_answers}


def records_of(dialogues: Sequence[Dialogue], repeat: int = 0) -> list[Record]:
    return [record(dialogue, repeat, 0) for dialogue in dialogues]


def export(records: list[Record], folder: Path, version: DataVersion, name: str | None = None) -> tuple[list[str], Any]:
    return write_runs(records, folder, folder, fetch(version.wheel), version, name)


def official_scores(run: Path, version: DataVersion, *categories: str) -> dict[str, tuple[dict[str, Any], Any]]:
    """Summary and failures by category, as `bfcl evaluate` writes them."""
    options = {"partial_eval": True} if version.scores_parts else {}
    job = {"model": NAMES[0], "categories": [f"multi_turn_{c}" for c in categories], "options": options}
    scores = run_official(EVALUATE, fetch(version.wheel), version, job, home=run)
    return {c: scores[f"{version.prefix}_multi_turn_{c}_score.json"] for c in categories}


def assert_scored_alike(records: list[Record], run: Path, version: DataVersion) -> None:
    """Every single verdict, and the number of right ones."""
    categories = sorted({r["category"] for r in records})
    for category, (summary, failures) in official_scores(run, version, *categories).items():
        ours = {r["id"]: r["error_type"] for r in records if r["category"] == category}
        theirs = {identity: failures.get(identity) for identity in ours}
        if version is V3:
            for identity in UNWINNABLE & set(ours):
                assert theirs.pop(identity) == ErrorType.FORCE_TERMINATED
                ours.pop(identity)
        assert theirs == ours
        assert summary["correct_count"] == sum(error is None for error in ours.values())


def spoiled(entries: Sequence[Entry], root: Path) -> list[Dialogue]:
    """A perturbation of every scenario."""
    config = BfclConfig(behaviours=("perturbed",), perturbations=1)
    return [played.dialogue for played in offline.played_scripts(entries, root, config)]


@pytest.mark.slow
@every_version
def test_the_leaderboards_tools_score_every_export_as_we_do(version: DataVersion, tmp_path: Path) -> None:
    """All scenarios of all categories: the ground truth, then a perturbation of each, as two repeats."""
    root = fetch(version.wheel)
    every = [load_entries(root, category, version) for category in CATEGORIES]
    truth = records_of([play(Dialogue(e, root), e.ground_truth) for entries in every for e in entries])
    other = records_of([d for entries in every for d in spoiled(entries, root)], 1)
    notices, _ = export([*truth, *other], tmp_path, version)
    assert [n for n in notices if "more answers than questions" not in n] == []
    assert all(r["valid"] for r in truth)
    assert 0 < sum(r["valid"] for r in other) < 100
    for number, records in enumerate((truth, other)):
        assert_scored_alike(records, tmp_path / f"run-{number}", version)


@pytest.mark.slow
@every_version
def test_an_export_is_read_back_with_the_same_verdicts(version: DataVersion, tmp_path: Path) -> None:
    root = fetch(version.wheel)
    entries = [e for category in CATEGORIES for e in load_entries(root, category, version)[:40]]
    records = records_of(spoiled(entries, root))
    export(records, tmp_path, version)
    recording = read_recording(tmp_path, root, version, entries)
    again = {p.dialogue.entry.id: record(p.dialogue, 0, 0) for p in offline.played_recording(recording, root, REDUCED)}
    assert {k: verdict_of(r) for k, r in again.items()} == {r["id"]: verdict_of(r) for r in records}
    left = {} if version.scores_parts else {"not evaluated": 4 * 160}
    assert {why: len(places) for why, places in recording.left_out.items() if places} == left
    assert recording.others == 0


def verdict_of(row: Record) -> Record:
    return {k: row[k] for k in ("id", "valid", "error_type", "first_wrong_turn", "turns", "calls")}


def say(dialogue: Dialogue, *texts: str) -> Dialogue:
    for text in texts:
        if dialogue.stop is None:
            dialogue.answer(Message("assistant", text, action=True))
    return dialogue


def rows_of(run: Path) -> dict[str, Any]:
    (file,) = run.rglob("*_result.json")
    return {row["id"]: row for row in map(json.loads, file.read_text().splitlines())}


@pytest.mark.slow
def test_episodes_that_a_limit_ended_are_force_terminated_there_too(tmp_path: Path, v4_root: Path) -> None:
    """In the last turn, where all calls were right; in an earlier one; in the very first."""
    entries = load_entries(v4_root, "base", V4)
    several = [e for e in entries if len(e.users) > 2][:2]
    first_only = next(e for e in entries if len(e.users) > 1 and e not in several)
    last = Dialogue(several[0], v4_root, Limits(max_tokens=10))
    play_until_last(last)
    last.answer(Message("assistant", REDUCED.write(several[0].ground_truth[-1]), action=True), tokens=10)
    middle = Dialogue(several[1], v4_root, Limits(max_steps=2))
    say(middle, "[]", "[pwd()]", "[pwd()]", "[pwd()]")
    first = say(Dialogue(first_only, v4_root, Limits(max_steps=1)), "[pwd()]", "[pwd()]")
    records = records_of([last, middle, first])
    assert [r["error_type"] for r in records] == [ErrorType.FORCE_TERMINATED] * 3
    export(records, tmp_path, V4)
    assert_scored_alike(records, tmp_path / "run-0", V4)
    rows = rows_of(tmp_path / "run-0")
    turns = [len(rows[r["id"]]["result"]) for r in records]
    assert turns == [len(several[0].users) - 1, 1, 0]
    recording = read_recording(tmp_path, v4_root, V4, entries)
    assert [e.entry.id for e in recording.episodes] == [several[0].id, several[1].id]
    assert {why for why, places in recording.left_out.items() if places} == {"ended by a limit in its first turn"}


def play_until_last(dialogue: Dialogue) -> None:
    for calls in dialogue.entry.ground_truth[:-1]:
        say(dialogue, REDUCED.write(calls), "[]") if calls else say(dialogue, "[]")


@pytest.mark.slow
def test_the_step_limit_in_the_last_turn_is_scored_where_the_official_loop_scores_it(
    tmp_path: Path, v4_root: Path
) -> None:
    entry = next(e for e in load_entries(v4_root, "base", V4) if "GorillaFileSystem" in e.classes)
    setting = OfficialPrompt(v4_root, "v4")
    dialogue = Dialogue(entry, v4_root, Limits(max_steps=3, scores_unfinished=True), setting)
    play_until_last(dialogue)
    say(dialogue, REDUCED.write(entry.ground_truth[-1]), "[pwd()]", "[pwd()]", "[pwd()]")
    records = records_of([dialogue])
    assert records[0]["valid"]
    assert records[0]["stop"] == "step_limit"
    export(records, tmp_path, V4)
    assert_scored_alike(records, tmp_path / "run-0", V4)


@pytest.mark.slow
def test_messages_without_calls_and_malformed_ones_change_no_score(tmp_path: Path, v4_root: Path) -> None:
    entry = load_entries(v4_root, "base", V4)[0]
    dialogue = Dialogue(entry, v4_root)
    for calls in entry.ground_truth:
        say(dialogue, "[ls(", *([REDUCED.write(calls)] if calls else []), "I am done.")
    records = records_of([dialogue])
    assert records[0]["valid"]
    export(records, tmp_path, V4)
    assert_scored_alike(records, tmp_path / "run-0", V4)
    log = rows_of(tmp_path / "run-0")[entry.id]["inference_log"]
    assert {"role": "assistant", "content": "I am done."} in log
    assert not any("token_ids" in message for message in log)


def test_positional_arguments_arrive_by_name(v4_root: Path) -> None:
    entry = next(e for e in load_entries(v4_root, "base", V4) if "GorillaFileSystem" in e.classes)
    dialogue = Dialogue(entry, v4_root)
    say(dialogue, "[mkdir('a'), mv('a', destination='b'), pwd(1), cd('a', folder='b')]")
    dialogue.cut()
    row = record(dialogue, 0, 0) | {"error_type": None}
    ((step, end),) = official_result(row, entry, v4_root)[0]
    assert end == ""
    assert [(name, json.loads(text)) for call in step for name, text in call.items()] == [
        ("mkdir", {"dir_name": "a"}),
        ("mv", {"source": "a", "destination": "b"}),
        ("pwd", {"no_such_argument_0": 1}),
        ("cd", {"no_such_argument_0": "a", "folder": "b"}),
    ]


@pytest.mark.slow
@every_version
def test_nothing_that_ran_no_tool_here_runs_there(version: DataVersion, tmp_path: Path) -> None:
    """The official checker evaluates text: names of Python's own, and code in names, must not reach it."""
    root = fetch(version.wheel)
    entries = load_entries(root, "base", version)
    entry = next(e for e in entries if {"MathAPI", "GorillaFileSystem"} <= set(e.classes))
    trace = tmp_path / "trace"
    touch = f"__import__('pathlib').Path('{trace}').touch()"
    hostile = [
        Call("exec", kwargs={"source": touch}),
        Call("open", (str(trace), "w")),
        Call("exit"),
        Call(f"{touch} or pwd"),
        Call("pwd", kwargs={f"a={touch}, b": 1}),
        Call("method", kwargs={"x": 1}),
        Call("power", kwargs={"base": 10, "exponent": 10**9}),
        Call("ｐｗｄ"),
    ]
    dialogue = Dialogue(entry, root)
    dialogue.take(Message("assistant", "hostile", action=True), Parsed(Outcome.CALLS, tuple(hostile)))
    assert all("Error" in response for response in dialogue.turns[0].responses)
    for turn, calls in enumerate(entry.ground_truth):
        say(dialogue, *([REDUCED.write(calls)] if calls else []), "[]")
        assert len(dialogue.turns) > turn
    records = records_of([dialogue])
    assert records[0]["valid"]
    export(records, tmp_path, version)
    assert_scored_alike(records, tmp_path / "run-0", version)
    assert not trace.exists()


@every_version
def test_odd_calls_under_the_official_prompt_are_scored_alike(version: DataVersion, tmp_path: Path) -> None:
    root = fetch(version.wheel)
    entry = next(e for e in load_entries(root, "base", version) if "GorillaFileSystem" in e.classes)
    dialogue = Dialogue(entry, root, setting=OfficialPrompt(root, version.name))
    odd = "[GorillaFileSystem.ls(), ls(a=1e999), ls(**{'a': 1}), run(), cat(file_name=ls(a=1)), ls()(), f(a={'b': {}})]"
    say(dialogue, odd)
    assert len(dialogue.turns[0].responses) == 7
    for calls in entry.ground_truth:
        say(dialogue, *([write(calls)] if calls else []), "Done (all of it).")
    records = records_of([dialogue])
    assert records[0]["valid"]
    assert records[0]["parseable_messages"] == records[0]["assistant_messages"]
    export(records, tmp_path, version)
    assert_scored_alike(records, tmp_path / "run-0", version)


def test_what_the_official_tools_see_otherwise_is_named(tmp_path: Path, v4_root: Path) -> None:
    entry = next(e for e in load_entries(v4_root, "base", V4) if "GorillaFileSystem" in e.classes)
    dialogue = say(Dialogue(entry, v4_root), "[echo(content='then pwd ()')]", *["[]"] * len(entry.users))
    notices, _ = export(records_of([dialogue]), tmp_path, V4)
    assert len(notices) == 1
    assert notices[0].startswith(f"run-0: {entry.id} may be scored differently")


def test_a_tuple_that_changes_the_score_is_named(tmp_path: Path, v4_root: Path) -> None:
    """Records hold JSON, so what a tuple did is no longer to be had from them."""
    entry = load_entries(v4_root, "base", V4)[0]
    row = record(play(Dialogue(entry, v4_root), entry.ground_truth), 0, 0)
    notices, _ = export([row | {"valid": False, "error_type": ErrorType.STATE.value}], tmp_path, V4)
    assert "may be scored differently" in notices[0]


@pytest.mark.slow
def test_an_episode_that_crashed_is_an_error_for_the_leaderboard(tmp_path: Path, v4_root: Path) -> None:
    entries = load_entries(v4_root, "base", V4)[:2]
    crashed = Dialogue(entries[0], v4_root)
    crashed.crash(RuntimeError("no more memory"))
    notices, _ = export(
        records_of([crashed, play(Dialogue(entries[1], v4_root), entries[1].ground_truth)]), tmp_path, V4
    )
    assert notices == [f"run-0: {entries[0].id} crashed: counted as wrong by the leaderboard, not scored here"]
    summary, failures = official_scores(tmp_path / "run-0", V4, "base")["base"]
    assert (summary["correct_count"], failures) == (1, {entries[0].id: "multi_turn:inference_error"})


def test_a_part_of_a_category_is_completed_for_v3(tmp_path: Path, bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    """Its tools refuse a part; what they will say of the whole is told beforehand."""
    records = records_of([play(Dialogue(e, bfcl_root), e.ground_truth) for e in entries[:5]])
    notices, commands = export(records, tmp_path, V3)
    assert notices == [
        "bfcl-eval==2025.7.17 scores whole categories only: the 195 scenarios of base that were not evaluated count "
        "as wrong there. Expect a correct_count of 5, out of 200 there and out of 5 here"
    ]
    summary, failures = official_scores(tmp_path / "run-0", V3, "base")["base"]
    assert (summary["correct_count"], summary["total_count"]) == (5, 200)
    assert set(failures) == {e.id for e in entries[5:]}
    assert "--partial-eval" not in commands[1]


def test_the_next_command_is_told(tmp_path: Path, v4_root: Path) -> None:
    entry = load_entries(v4_root, "miss_func", V4)[0]
    records = records_of([play(Dialogue(entry, v4_root), entry.ground_truth)])
    _, commands = export(records, tmp_path, V4, NAMES[1])
    assert commands == [
        "pip install bfcl-eval==2026.3.23 soundfile  # in a separate environment",
        f"BFCL_PROJECT_ROOT={tmp_path}/run-0 bfcl evaluate --model {NAMES[1]} "
        "--test-category multi_turn_miss_func --partial-eval",
    ]
    folder = tmp_path / "run-0" / "result" / "katanemo_Arch-Agent-3B" / "multi_turn"
    assert (folder / "BFCL_v4_multi_turn_miss_func_result.json").is_file()


def test_a_name_under_which_calls_are_not_read_is_refused(tmp_path: Path, v4_root: Path) -> None:
    entry = load_entries(v4_root, "base", V4)[0]
    records = records_of([play(Dialogue(entry, v4_root), entry.ground_truth)])
    with pytest.raises(ConfigError, match=r"would not read these calls .*--name.*one of katanemo/Arch-Agent-1.5B"):
        export(records, tmp_path, V4, "meta-llama/Llama-3.1-8B-Instruct")


@every_version
def test_every_name_is_decoded_as_it_is_written(version: DataVersion, tmp_path: Path) -> None:
    job = {"names": NAMES, "step": [{"ls": '{"a": true}'}, {"mv": '{"source": "x\'y", "destination": null}'}]}
    decoded = run_official(DECODE, fetch(version.wheel), version, job, home=tmp_path)
    assert decoded == [["ls(a=True)", 'mv(source="x\'y",destination=None)']] * len(NAMES)
    assert not any("_" in name for name in NAMES)  # the official tools take it for a slash
