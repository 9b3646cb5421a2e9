"""``--eval-every``: evaluations of the weights along the way, and a training that is none the different for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TOY

import shiqbench
from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError, CorruptCellError, RunError
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.report.formats import render
from shiqbench.report.of_run import report_of_run
from shiqbench.running.runner import missing
from shiqbench.running.train_cell import train_cell
from shiqbench.running.weights import as_model
from shiqbench.running.workbench import workbench


def run(algo: str, model: Path, results: Path, **options: Any) -> shiqbench.RunResult:
    return shiqbench.run(algo, "toy", model=str(model), results=results, plugins=(TOY,), **options)


def request(model: Path, results: Path, every: int | None, algo: str = "sft", *assignments: str) -> Request:
    return Request(
        algo,
        "toy",
        str(model),
        eval_every=every,
        settings=parse_assignments(assignments),
        plugins=(TOY,),
        results=results,
    )


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Every test computes its own reference statistics."""


@pytest.mark.slow
def test_the_curve_is_evaluated_on_validation_and_changes_nothing_else(tiny_model: Path, tmp_path: Path) -> None:
    plain = run("sft", tiny_model, tmp_path / "plain")
    found = run("sft", tiny_model, tmp_path / "curve", eval_every=2)
    assert found.cell == plain.cell
    weights = "checkpoint/model.safetensors"
    assert file_sha256(found.path / weights) == file_sha256(plain.path / weights)
    assert found.evaluation["digest"] == plain.evaluation["digest"]
    assert [p["update"] for p in found.curve] == [0, 2, 4, 6]
    folders = [Path(p["evaluation"]["path"]) for p in found.curve]
    recipes = [json.loads((f / "config.json").read_text()) for f in folders]
    assert {r["eval"]["split"] for r in recipes} == {"validation"}
    assert [r.get("update") for r in recipes] == [None, 2, 4, None]
    assert folders[0].parents[2].name == "base"
    sha256 = [json.loads((f / "manifest.json").read_text())["weights_sha256"] for f in folders]
    assert len(set(sha256)) == 4
    assert sha256[3] == file_sha256(found.path / weights)
    assert not list(found.path.glob(".model-*"))
    again = run("sft", tiny_model, tmp_path / "curve", eval_every=2)
    assert again.cached
    assert again.curve == found.curve


def test_a_snapshot_is_the_model_that_a_shorter_training_gives(tiny_model: Path, tmp_path: Path) -> None:
    """With a constant learning rate the first four updates of six are the four of four."""
    constant = {"train.schedule": "constant", "train.warmup": 0.0}
    words = [f"{k}={json.dumps(v)}" for k, v in constant.items()]
    plan = make_plan(request(tiny_model, tmp_path, 4, "sft", *words))
    run("sft", tiny_model, tmp_path, eval_every=4, set=constant)
    short = run("sft", tiny_model, tmp_path, set={**constant, "train.updates": 4})
    with as_model(plan.cell, 4) as (folder, _):
        assert file_sha256(folder / "model.safetensors") == file_sha256(short.path / "checkpoint/model.safetensors")


def test_a_finished_cell_is_trained_once_more_beside_itself(tiny_model: Path, tmp_path: Path) -> None:
    plain = run("dpo", tiny_model, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in plain.path.iterdir() if p.is_file() and not p.name.startswith(".")}
    plan = make_plan(request(tiny_model, tmp_path, 3, "dpo"))
    assert missing(plan)[0] == f"train {plan.cell.label} once more, to keep its intermediate weights"
    found = run("dpo", tiny_model, tmp_path, eval_every=3)
    assert [p["update"] for p in found.curve] == [0, 3, 6]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not (plain.path / ".replay").exists()


def test_a_replay_with_other_weights_is_not_taken_over(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run("sft", tiny_model, tmp_path)
    from shiqbench.training import loop as training

    rate = training.learning_rate
    monkeypatch.setattr(training, "learning_rate", lambda *a, **k: 2 * rate(*a, **k))
    with pytest.raises(RunError, match="the cell got other weights"):
        run("sft", tiny_model, tmp_path, eval_every=3)
    assert not (plain.path / "snapshots").exists()


def test_a_training_that_went_on_after_a_stop_still_gets_its_curve(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before snapshots were asked for, and past the first of them."""
    from shiqbench.base.progress import Display
    from shiqbench.training import loop as training

    update = training.Trainer._update
    plan = make_plan(request(tiny_model, tmp_path, None, "sft", "train.save_every=1"))

    def stopped(self: Any, index: int) -> dict[str, Any]:
        if index == 4:
            raise KeyboardInterrupt
        return update(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(training.Trainer, "_update", stopped)
        with pytest.raises(KeyboardInterrupt), workbench() as bench:
            train_cell(plan.cell, Display(quiet=True), bench)
    found = run("sft", tiny_model, tmp_path, eval_every=3, set={"train.save_every": 1})
    assert json.loads((found.path / "manifest.json").read_text())["resumed_at_update"] == 4
    assert [p["update"] for p in found.curve] == [0, 3, 6]


@pytest.mark.slow
def test_curves_share_their_first_point_and_stay_out_of_the_comparison(tiny_model: Path, tmp_path: Path) -> None:
    one = run("sft", tiny_model, tmp_path, eval_every=3, preset="started")
    two = run("dpo", tiny_model, tmp_path, eval_every=3, preset="started")
    assert one.curve[0] == two.curve[0]
    assert Path(two.curve[0]["evaluation"]["path"]).parents[1].parent.name == "sft"
    plan = make_plan(request(tiny_model, tmp_path, 3, "dpo"))
    run("dpo", tiny_model, tmp_path, eval_every=3, set={"eval.split": "validation"})
    on_validation = make_plan(request(tiny_model, tmp_path, 3, "dpo", "eval.split=validation"))
    assert on_validation.curve is not None
    (block,) = report_of_run(on_validation).blocks
    folders = [e.cell.folder for r in block.rows for e in r.evaluations]
    assert len(set(folders)) == len(folders)
    assert folders.count(f"toy/{plan.cell.label}") == 1


def test_a_snapshot_that_changed_is_noticed(tiny_model: Path, tmp_path: Path) -> None:
    found = run("sft", tiny_model, tmp_path, eval_every=3)
    file = found.path / "snapshots" / "000003.pt"
    state = torch.load(file, weights_only=True)
    torch.save({k: v + 1 for k, v in state.items()}, file)
    with pytest.raises(CorruptCellError, match=r"000003\.pt"):
        run("sft", tiny_model, tmp_path, eval_every=3, set={"eval.max_tokens": 3})


def test_the_table_has_a_row_for_every_point(tiny_model: Path, tmp_path: Path) -> None:
    run("sft", tiny_model, tmp_path, eval_every=4)
    plan = make_plan(request(tiny_model, tmp_path, 4))
    assert plan.curve is not None
    (curve,) = report_of_run(plan).curves
    assert curve.frame["updates"].tolist() == ["0", "4", "6"]
    assert curve.title in render(report_of_run(plan), "markdown")


@pytest.mark.parametrize(
    ("algo", "task", "every", "why"),
    [
        ("sft", "toy", 0, "training has 6 updates"),
        ("sft", "toy", 7, "training has 6 updates"),
        ("base", "toy", 2, "base trains nothing"),
        ("shiq", "mdp", 2, "scores its own policy exactly"),
    ],
)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, algo: str, task: str, every: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_plan(Request(algo, task, eval_every=every, plugins=(TOY,), results=tmp_path))


def test_a_budget_in_tokens_has_no_known_updates(tmp_path: Path) -> None:
    words = {"train.updates": None, "train.tokens": 1000}
    with pytest.raises(ConfigError, match="budget is in tokens"):
        make_plan(Request("sft", "toy", eval_every=2, settings=words, plugins=(TOY,), results=tmp_path))
