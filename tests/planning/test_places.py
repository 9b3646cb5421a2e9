"""What lies in another place is the same: digests hold contents, manifests hold places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import HERE

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.base.progress import Display
from shiqbench.commands.diff import diff
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.planning.stored import stored_cell
from shiqbench.plugin.config import TaskConfig
from shiqbench.running.runner import RunResult
from shiqbench.running.runner import run_plan as carry_out
from shiqbench.store.cell import mark_done

WORDS = HERE / "toy" / "rewards.py"
FAST = {"eval.engine": "transformers"}


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(answer: str = "yes") -> str:
    row = {"score_chosen": 8, "score_rejected": 2, "chosen": answer, "rejected": "no"}
    return "".join(json.dumps({**row, "prompt": f"question {i}"}) + "\n" for i in range(60))


def data_file(at: Path, content: str) -> None:
    at.write_text(rows(content))


def data_folder(at: Path, content: str) -> None:
    at.mkdir()
    (at / "train.jsonl").write_text(rows(content))


def recording(at: Path, content: str) -> None:
    (at / "result" / "model").mkdir(parents=True)
    (at / "result" / "model" / "BFCL_v3_multi_turn_base_result.json").write_text(content)


def suites(at: Path, content: str) -> None:
    at.mkdir()
    (at / "mine.yaml").write_text(f"task: mine\ndescription: {content}\n")


def model(at: Path, content: str) -> None:
    """The files of a model; a plan does not load them."""
    at.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "chat_template.jinja"):
        (at / name).write_text(json.dumps({"content": content}))


UF = {"task.data": "data.jsonl", **FAST}
KINDS: dict[str, tuple[Callable[[Path, str], None], str, str, str, dict[str, Any]]] = {
    "a data file": (data_file, "dpo", "ultrafeedback", "task.data", FAST),
    "a data folder": (data_folder, "dpo", "ultrafeedback", "task.data", FAST),
    "a model": (model, "dpo", "ultrafeedback", "model", UF),
    "a reward model": (model, "dpo", "ultrafeedback", "task.reward.model", UF),
    "a recording": (recording, "sft", "bfcl_v3", "task.recorded", {"task.behaviours": "recorded", **FAST}),
    "a model of rollouts": (model, "sft", "bfcl_v3", "task.rollout_model", {"task.behaviours": "rollout", **FAST}),
    "suites": (suites, "base", "lm_eval", "task.task_path", {"task.suites": "mine", **FAST}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_is_in_no_digest_and_what_lies_there_is(kind: str, tmp_path: Path) -> None:
    make, algo, task, key, settings = KINDS[kind]
    data_file(tmp_path / "data.jsonl", "yes")
    name = "one.jsonl" if kind == "a data file" else "one"
    make(tmp_path / name, "content")
    (tmp_path / "far").mkdir()
    shutil.move(shutil.copytree(name, "two") if (tmp_path / name).is_dir() else shutil.copy(name, "two.jsonl"), "far")
    (copied,) = (tmp_path / "far").iterdir()

    def digests(place: str) -> set[tuple[str, str, str]]:
        asked = {**settings, key: place}
        start = asked.pop("model", None)
        plan = make_plan(Request(algo, task, start, preset="smoke", settings=asked, plugins=(WORDS,)))
        return {(plan.cell.digest, plan.base.digest, digest(plan.setting))}

    places = [name, f"./{name}", str(tmp_path / name), f"far/../{name}", str(copied), f"far/{copied.name}"]
    same = set().union(*map(digests, places))
    assert len(same) == 1
    assert str(tmp_path) not in json.dumps([*same])
    (shutil.rmtree if copied.is_dir() else Path.unlink)(copied)
    make(copied, "other content")
    assert len(same | digests(str(copied))) == 2


def run_plan(plan: RunPlan) -> RunResult:
    return carry_out(plan, Display(quiet=True))


def asked(data: str, model: Path, results: Path, algo: str = "dpo", lr: float = 1e-3) -> Request:
    few = {
        "train.updates": 2,
        "train.batch_episodes": 2,
        "train.top_layers": None,
        "train.lr": lr,
        "eval.examples": 2,
        **FAST,
    }
    small = {"eval.max_tokens": 4, "eval.max_context": 200, "task.reward_model": "words", "task.data": data}
    values = {**few, **small}
    if algo == "base":
        values = {k: v for k, v in values.items() if not k.startswith("train.")}
    return Request(
        algo, "ultrafeedback", str(model), preset="smoke", settings=values, plugins=(WORDS,), results=results
    )


def test_moved_data_are_the_same_cell_which_says_where_they_lay(tiny_model: Path, tmp_path: Path) -> None:
    data_file(tmp_path / "one.jsonl", "yes")
    first = run_plan(make_plan(asked("one.jsonl", tiny_model, tmp_path / "results")))
    manifests = [read_json(first.path / "manifest.json"), read_json(Path(first.evaluation["path"]) / "manifest.json")]
    assert [m["places"]["data"] for m in manifests] == [str(tmp_path / "one.jsonl")] * 2
    for file in (tmp_path / "results").rglob("config.json"):
        assert "one.jsonl" not in file.read_text()
    (tmp_path / "far").mkdir()
    (tmp_path / "one.jsonl").rename(tmp_path / "far" / "two.jsonl")
    again = run_plan(make_plan(asked("far/two.jsonl", tiny_model, tmp_path / "results")))
    assert (again.cell, again.cached) == (first.cell, True)
    # A cell that starts from it needs its weights, and not its data, where they were.
    start = asked("far/two.jsonl", Path(f"cell:{first.cell[:12]}"), tmp_path / "results", lr=1e-4)
    assert make_plan(start).cell.recipe["model"] == {"cell": digest(read_json(first.path / "config.json"))}


def test_what_is_asked_of_a_place_is_part_of_the_setting(tiny_model: Path, tmp_path: Path) -> None:
    """Evaluations on other data are in another table, whatever the task says of its scores."""
    data_file(tmp_path / "one.jsonl", "yes")
    plan = make_plan(asked("one.jsonl", tiny_model, tmp_path / "results"))
    kind = type("Plain", (type(plan.task),), {"scoring_identity": lambda self: {}})
    plain = replace(plan, task=kind(plan.task.config))
    assert plain.setting["data"] == plan.cell.recipe["task"]["data"]


def test_diff_does_not_give_a_place_as_a_reason(tiny_model: Path, tmp_path: Path) -> None:
    folders = []
    for name in ("one.jsonl", "two.jsonl"):
        data_file(tmp_path / name, "yes")
        cell = make_plan(asked(name, tiny_model, tmp_path / name.partition(".")[0])).cell
        cell.folder.mkdir(parents=True)
        (cell.folder / "config.json").write_text(json.dumps(cell.recipe))
        (cell.folder / "manifest.json").write_text(json.dumps({"places": cell.task_config.places()}))
        folders.append(cell.folder)
    found = diff(*folders)
    assert found.equal
    assert found.outside == {"places.data": (str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl"))}


def test_data_that_change_after_planning_are_refused_before_anything_is_done(tiny_model: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    data_file(tmp_path / "one.jsonl", "yes")
    for algo in ("dpo", "base"):
        plan = make_plan(asked("one.jsonl", tiny_model, results, algo))
        assert len({plan.eval_folder(cell) for cell in plan.evaluated}) == (2 if algo == "dpo" else 1)
        data_file(tmp_path / "one.jsonl", f"yes, {algo}")
        with pytest.raises(ConfigError, match="the data of ultrafeedback changed after the run was planned"):
            run_plan(plan)
        assert not [*results.glob("*/dpo/*/DONE"), *results.glob("*/*/*/eval/*/DONE")]


def test_a_cell_whose_model_is_another_one_now_is_no_start(tiny_model: Path, tmp_path: Path) -> None:
    data_file(tmp_path / "one.jsonl", "yes")
    mine = tmp_path / "mine"
    model(mine, "a")
    cell = make_plan(asked("one.jsonl", mine, tmp_path / "results")).cell
    cell.folder.mkdir(parents=True)
    (cell.folder / "config.json").write_text(json.dumps(cell.recipe))
    (cell.folder / "manifest.json").write_text(json.dumps({"model": str(mine), "places": cell.task_config.places()}))
    mark_done(cell.folder, list(cell.folder.iterdir()))
    (tmp_path / "one.jsonl").unlink()
    (tmp_path / "two.jsonl").write_text(rows())
    further = asked("two.jsonl", Path(f"cell:{cell.digest[:12]}"), tmp_path / "results", lr=1e-4)
    assert make_plan(further).cell.recipe["model"] == {"cell": cell.digest}
    assert stored_cell(cell.folder, further).digest == cell.digest
    model(mine, "another")
    with pytest.raises(ConfigError, match="the model that this cell started from has changed"):
        make_plan(further)


def test_places_of_a_configuration_are_absolute_where_they_exist(tmp_path: Path) -> None:
    class Mine(TaskConfig):
        setting_fields = ("data", "size")
        place_fields = ("data", "other")
        data: str = "org/name"
        other: str | None = None
        size: int = 1

    (tmp_path / "here").mkdir()
    assert Mine().places() == {"data": "org/name"}
    assert Mine(data="here").places() == {"data": str(tmp_path / "here")}
    assert Mine(data="here").setting() == Mine(data="there").deciding() == {"size": 1}
