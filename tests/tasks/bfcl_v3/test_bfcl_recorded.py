"""Recorded episodes: played again, scored as officially, and what is wrong with a folder is named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from official import official_verdicts, our_verdicts
from shiqbench_tasks.bfcl_v3 import offline
from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries, raw_answers, split_entries
from shiqbench_tasks.bfcl_v3.formats import FORMATS
from shiqbench_tasks.bfcl_v3.prompt import REDUCED
from shiqbench_tasks.bfcl_v3.recorded import Recording, read_recording, recording_sha256
from shiqbench_tasks.bfcl_v3.scoring import ErrorType
from shiqbench_tasks.bfcl_v3.task import BfclTask
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, V4
from support import SHARED

from shiqbench.base.errors import ConfigError
from shiqbench.base.progress import Display
from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import StopReason
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.running.runner import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_tasks.bfcl_v3.calls import Call
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.rewards import Played

RECORDED = SHARED / "bfcl_recorded"
TRUE = [[[{"ls": '{"a": true}'}], []], [[{"cd": '{"folder": "workspace"}'}, {"pwd": "{}"}]]]


@pytest.fixture(scope="module")
def v4_base(v4_root: Path) -> tuple[Entry, ...]:
    return load_entries(v4_root, "base", V4)


def _truth(entry: Entry) -> list[list[list[dict[str, str]]]]:
    """Its ground truth in the leaderboard's layout: a message with all of a turn's calls, then one without."""
    return [[[{c.name: json.dumps(c.kwargs)} for c in calls], []] if calls else [[]] for calls in entry.ground_truth]


def _write(folder: Path, rows: list[Any], scores: list[Any] | None = None, version: str = "v4") -> Path:
    name = f"BFCL_{version}_multi_turn_base"
    for kind, content in (("result", rows), ("score", scores)):
        if content is not None:
            file = folder / kind / "some_model" / "multi_turn" / f"{name}_{kind}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in content))
    return folder


def _failure(entry: Entry, error: str, **more: Any) -> dict[str, Any]:
    return {"id": entry.id, "valid": False, "error": {"error_type": error}, **more}


@pytest.fixture(scope="module")
def shared_recording(v4_root: Path) -> tuple[Recording, list[Played]]:
    if not RECORDED.is_dir():
        pytest.skip("the recorded episodes are not part of the project")
    entries = [e for category in CATEGORIES for e in load_entries(v4_root, category, V4)]
    recording = read_recording(RECORDED, v4_root, V4, entries)
    return recording, offline.played_recording(recording, v4_root, REDUCED)


@pytest.mark.shared
def test_every_recorded_episode_is_scored_as_it_was_officially(
    shared_recording: tuple[Recording, list[Played]],
) -> None:
    recording, played = shared_recording
    facts = offline.recording_facts(recording, played)
    assert facts["episodes"] == facts["with_recorded_score"] == 1152
    assert facts["left_out"]["contains a server's error instead of calls"]["lines"] == 48
    assert facts["scores_that_disagree"] == 0
    labels = Counter(r.label for r in recording.episodes)
    assert set(labels) == {"valid", *ErrorType}
    summaries = [json.loads(f.read_text().partition("\n")[0]) for f in RECORDED.rglob("*_score.json")]
    assert sum(p.verdict.valid for p in played) == sum(s["correct_count"] for s in summaries) == 521


@pytest.mark.shared
def test_the_official_checker_agrees_on_every_recorded_episode(
    v4_root: Path, shared_recording: tuple[Recording, list[Played]]
) -> None:
    """From the calls as our loop took them, in a fresh process."""
    recording, played = shared_recording
    whole = [p.dialogue for r, p in zip(recording.episodes, played, strict=True) if len(r.turns) == len(r.entry.users)]
    assert len(whole) > 1100
    assert official_verdicts(whole, v4_root, V4) == our_verdicts(whole)


def test_a_recording_is_played_again(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    first, second = v4_base[:2]
    rows = [{"id": first.id, "result": _truth(first)}, {"id": second.id, "result": _truth(second)[:1]}]
    scores = [{"accuracy": 0.5}, _failure(second, "multi_turn:force_terminated")]
    recording = read_recording(_write(tmp_path, rows, scores), v4_root, V4, v4_base)
    played = offline.played_recording(recording, v4_root, REDUCED)
    assert [p.behaviour for p in played] == ["recorded:some_model"] * 2
    assert [p.verdict.valid for p in played] == [True, False]
    assert played[1].verdict.error_type is ErrorType.FORCE_TERMINATED
    assert played[1].dialogue.stop is StopReason.STEP_LIMIT
    assert [r.label for r in recording.episodes] == ["valid", "multi_turn:force_terminated"]
    assert offline.disagreements(recording, played) == []


def test_disagreement_with_a_recorded_score_is_counted(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base[:3]]
    scores = [{"accuracy": 0.3}, _failure(v4_base[1], "multi_turn:instance_state_mismatch")]
    recording = read_recording(_write(tmp_path, rows, scores), v4_root, V4, v4_base)
    facts = offline.recording_facts(recording, offline.played_recording(recording, v4_root, REDUCED))
    assert facts["scores_that_disagree"] == 1
    assert facts["disagreeing"] == [f"{v4_base[1].id}/0-recorded"]


def test_a_result_folder_finds_the_scores_next_to_it(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    scores = [{"accuracy": 0.0}, _failure(v4_base[0], "multi_turn:instance_state_mismatch")]
    folder = _write(tmp_path, [{"id": v4_base[0].id, "result": _truth(v4_base[0])}], scores) / "result"
    before = recording_sha256(folder)
    recording = read_recording(folder, v4_root, V4, v4_base)
    played = offline.played_recording(recording, v4_root, REDUCED)
    assert offline.recording_facts(recording, played)["scores_that_disagree"] == 1
    next((tmp_path / "score").rglob("*.json")).write_text("{}")
    assert recording_sha256(folder) != before


def test_a_turn_without_a_closing_message_is_judged_all_the_same(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    open_ended = [[step for step in turn if step] for turn in _truth(v4_base[0])]
    recording = read_recording(_write(tmp_path, [{"id": v4_base[0].id, "result": open_ended}]), v4_root, V4, v4_base)
    (played,) = offline.played_recording(recording, v4_root, REDUCED)
    assert played.verdict.valid
    assert recording.episodes[0].label is None


def test_text_of_models_without_tools_is_read_as_officially(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    texts = [
        [f"```{', '.join(c.text() for c in calls)}```" if calls else "Nothing.", "I have done that."]
        for calls in v4_base[0].ground_truth
    ]
    recording = read_recording(_write(tmp_path, [{"id": v4_base[0].id, "result": texts}]), v4_root, V4, v4_base)
    (played,) = offline.played_recording(recording, v4_root, REDUCED)
    assert played.verdict.valid


def test_bad_lines_are_left_out_counted_and_named(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    good = {"id": v4_base[0].id, "result": _truth(v4_base[0])}
    rows = [
        good,
        json.dumps(good)[:40],
        {"id": "multi_turn_base_200", "result": []},
        good,
        {"id": v4_base[1].id, "result": "Error during inference: 500"},
        {"id": v4_base[2].id, "result": {"turn": 1}},
        {"id": v4_base[3].id, "result": _truth(v4_base[3])},
        "[1]",
    ]
    recording = read_recording(_write(tmp_path, rows), v4_root, V4, v4_base[:3])
    facts = offline.recording_facts(recording, offline.played_recording(recording, v4_root, REDUCED))
    file = "result/some_model/multi_turn/BFCL_v4_multi_turn_base_result.json"
    assert facts["episodes"] == 1
    assert facts["of_other_scenarios"] == 1
    assert facts["left_out"] == {
        "line is not JSON, probably cut off": {"lines": 1, "first": [f"{file}:2"]},
        "no such scenario": {"lines": 1, "first": [f"{file}:3"]},
        "scenario occurs twice in the file": {"lines": 1, "first": [f"{file}:4"]},
        "contains a server's error instead of calls": {"lines": 1, "first": [f"{file}:5"]},
        "not in the leaderboard's layout": {"lines": 2, "first": [f"{file}:6", f"{file}:8"]},
    }


def test_a_line_in_another_encoding_is_left_out_and_named(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base[:2]]
    (file,) = _write(tmp_path, rows).rglob("*_result.json")
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second.replace(b'"id"', b'"who": "Andr\xe9", "id"'))
    recording = read_recording(tmp_path, v4_root, V4, v4_base[:2])
    assert [place for places in recording.left_out.values() for place in places] == [f"{file.relative_to(tmp_path)}:2"]


def test_a_cut_off_score_file_says_nothing_about_the_others(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base[:2]]
    failure = _failure(v4_base[1], "multi_turn:force_terminated")
    recording = read_recording(_write(tmp_path, rows, [failure, '{"id": "mul']), v4_root, V4, v4_base)
    assert [r.label for r in recording.episodes] == [None, "multi_turn:force_terminated"]


@pytest.mark.parametrize(
    "step",
    [
        [{"ls": "{'a': 1}"}],
        [{"ls": "[1]"}],
        [{"ls": 1}],
        ["ls()"],
        7,
        None,
    ],
)
def test_calls_that_cannot_be_read_end_the_turn(
    v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path, step: Any
) -> None:
    rows = [{"id": v4_base[0].id, "result": [[step], *_truth(v4_base[0])[1:]]}]
    (played,) = offline.played_recording(read_recording(_write(tmp_path, rows), v4_root, V4, v4_base), v4_root, REDUCED)
    assert played.verdict.error_type is ErrorType.EMPTY_TURN


def test_not_a_number_is_an_error_of_the_call(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    entry = next(e for e in v4_base if "MathAPI" in e.classes)
    rows = [{"id": entry.id, "result": [[[{"add": '{"a": NaN, "b": [Infinity]}'}], []]]}]
    (played,) = offline.played_recording(read_recording(_write(tmp_path, rows), v4_root, V4, v4_base), v4_root, REDUCED)
    assert played.dialogue.turns[0].responses == ["Error during execution: name 'nan' is not defined"]


def test_another_version_is_refused_by_its_hash(bfcl_root: Path, entries: tuple[Entry, ...], tmp_path: Path) -> None:
    from shiqbench_tasks.bfcl_v3.versions import V3

    folder = _write(tmp_path / "four", [{"id": entries[0].id, "result": TRUE}])
    with pytest.raises(ConfigError, match=r"v4 \(base is sha256 1a21a995d06f\), this run uses v3 \(sha256 fe5c4428"):
        read_recording(folder, bfcl_root, V3, entries)
    folder = _write(tmp_path / "nine", [{"id": entries[0].id, "result": TRUE}], version="v9")
    with pytest.raises(ConfigError, match=r"v9 .*not known here"):
        read_recording(folder, bfcl_root, V3, entries)


def test_a_wrong_recording_stops_the_run_before_its_start_is_trained(
    entries: tuple[Entry, ...], tiny_model: Path, tmp_path: Path
) -> None:
    folder = _write(tmp_path / "four", [{"id": entries[0].id, "result": TRUE}])
    chosen = {"task.behaviours": ["recorded"], "task.recorded": str(folder)}
    request = Request(
        "shiq", "bfcl_v3", str(tiny_model), settings=chosen, engine="transformers", results=tmp_path / "results"
    )
    with pytest.raises(ConfigError, match=r"recorded on BFCL v4 .* this run uses v3"):
        run_plan(make_plan(request), Display())
    assert not (tmp_path / "results").exists()


def test_another_ground_truth_is_refused_by_its_hash(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    entry, truth = v4_base[0], raw_answers(v4_root, "base", V4)[v4_base[0].id]
    rows = [{"id": entry.id, "result": TRUE}]
    same = _failure(entry, "multi_turn:instance_state_mismatch", possible_answer=truth)
    read_recording(_write(tmp_path, rows, [same]), v4_root, V4, v4_base)
    other = {**same, "possible_answer": truth[:-1]}
    with pytest.raises(ConfigError, match=r"another ground truth, sha256 [0-9a-f]{12} instead of [0-9a-f]{12}"):
        read_recording(_write(tmp_path, rows, [other]), v4_root, V4, v4_base)


def test_what_was_left_out_is_said(
    v4_base: tuple[Entry, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, on standard error, before minutes are spent."""
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base]
    scores = [{"accuracy": 0.0}, *(_failure(e, "multi_turn:force_terminated") for e in v4_base)]
    folder = _write(tmp_path, [*rows, '{"id": "multi'], scores)
    config = BfclConfig(data_version="v4", behaviours=("recorded",), recorded=str(folder), recorded_disagreement=1)
    BfclTask(config).episodes("train")
    said = capsys.readouterr().err
    assert "recorded: 1 line left out, line is not JSON, probably cut off: result/some_model/" in said
    assert "_result.json:201" in said
    assert "recorded: 120 recorded scores differ from ours: multi_turn_base_" in said


WRITERS: dict[str, Callable[[Sequence[Call]], str]] = {
    "official": lambda calls: write(tuple(calls)),
    **{name: form.write for name, form in FORMATS.items()},
    "hermes after a thought": lambda calls: f"<think>[pwd()]</think>{FORMATS['hermes'].write(calls)}",
    "llama3_json after a tag": lambda calls: f"<|python_tag|>{FORMATS['llama3_json'].write(calls)}",
}


@pytest.mark.parametrize("style", WRITERS)
def test_calls_in_a_models_own_format_are_read(
    style: str, v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    texts = {
        e.id: [[WRITERS[style](calls), "Done (all of it)."] if calls else ["Done."] for calls in e.ground_truth]
        for e in v4_base
    }
    rows = [{"id": identity, "result": result} for identity, result in texts.items()]
    recording = read_recording(_write(tmp_path, rows, [{"accuracy": 1.0}]), v4_root, V4, v4_base)
    played = offline.played_recording(recording, v4_root, REDUCED)
    assert sum(p.verdict.valid for p in played) == 200
    offline.check_scores(recording, played, 0.0, "folder")
    ((form, messages, calls),) = recording.texts.values()
    expected = style.partition(" ")[0]
    assert form == ("official" if expected == "pythonic" else expected)  # the same text
    assert (messages, calls) == (
        sum(len(turn) for result in texts.values() for turn in result),
        sum(bool(calls) for e in v4_base for calls in e.ground_truth),
    )


def test_a_recording_whose_calls_cannot_be_read_is_said(
    v4_base: tuple[Entry, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": e.id, "result": [["<call name=ls/>"] for _ in e.users]} for e in v4_base]
    config = BfclConfig(data_version="v4", behaviours=("recorded",), recorded=str(_write(tmp_path, rows)))
    BfclTask(config).episodes("train")
    said = capsys.readouterr().err
    assert (
        "BFCL_v4_multi_turn_base_result.json: calls are read as official, 0 of 734 messages of text have calls" in said
    )
    assert "recorded: 120 of 120 episodes have no recorded score to compare with" in said


@pytest.mark.parametrize(("wrong", "refused"), [(6, False), (7, True)])
def test_a_recording_that_disagrees_too_often_is_refused_before_training(
    wrong: int, refused: bool, v4_base: tuple[Entry, ...], tmp_path: Path
) -> None:
    """More than 5 % of the 120 training episodes."""
    entries = split_entries(fetch(V4.wheel), ("base",), "train", V4)
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base]
    scores = [{"accuracy": 0.5}, *(_failure(e, "multi_turn:instance_state_mismatch") for e in entries[:wrong])]
    folder = str(_write(tmp_path, rows, scores))
    config = BfclConfig(data_version="v4", behaviours=("recorded",), recorded=folder)
    if not refused:
        BfclTask(config).fetch()
        return
    with pytest.raises(ConfigError, match=r"7 of 120 recorded scores of some_model in base differ .*disagreement=1"):
        BfclTask(config).fetch()
    BfclTask(config.model_copy(update={"recorded_disagreement": 0.06})).fetch()


def test_one_bad_model_is_not_hidden_by_good_ones(v4_root: Path, v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    rows = [{"id": e.id, "result": _truth(e)} for e in v4_base]
    _write(tmp_path, rows, [{"accuracy": 1.0}])
    few = tmp_path / "result" / "other_model" / "BFCL_v4_multi_turn_base_result.json"
    few.parent.mkdir()
    few.write_text(json.dumps(rows[0]))
    score = tmp_path / "score" / "other_model" / "BFCL_v4_multi_turn_base_score.json"
    score.parent.mkdir()
    score.write_text(json.dumps(_failure(v4_base[0], "multi_turn:force_terminated")))
    recording = read_recording(tmp_path, v4_root, V4, v4_base)
    played = offline.played_recording(recording, v4_root, REDUCED)
    with pytest.raises(ConfigError, match="1 of 1 recorded scores of other_model in base"):
        offline.check_scores(recording, played, 0.05, "folder")


def test_accepted_disagreement_needs_a_recording() -> None:
    with pytest.raises(ValueError, match="recorded_disagreement cannot be honoured"):
        BfclConfig(recorded_disagreement=1)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        recording_sha256(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no recorded multi-turn episodes"):
        recording_sha256(tmp_path)


def test_the_task_learns_from_a_recording_of_its_split_alone(v4_base: tuple[Entry, ...], tmp_path: Path) -> None:
    folder = _write(tmp_path, [{"id": e.id, "result": _truth(e)} for e in v4_base])
    config = BfclConfig(data_version="v4", behaviours=("recorded",), recorded=str(folder))
    task = BfclTask(config)
    episodes = task.episodes("train")
    assert len(episodes) == 120
    assert {e.behaviour for e in episodes} == {"recorded:some_model"}
    assert all(e.total_reward == pytest.approx(1) for e in episodes)
    facts = task.facts()["data"]
    assert (facts["recorded"]["episodes"], facts["recorded"]["of_other_scenarios"]) == (120, 80)
    identity = BfclTask.offline_identity(config)
    (folder / "result/some_model/multi_turn/BFCL_v4_multi_turn_base_result.json").write_text("")
    assert BfclTask.offline_identity(config) != identity
    assert "recorded" not in BfclTask.data_identity(config)
