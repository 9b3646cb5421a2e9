"""Whole runs of the task: cells, the shared base, refusals before anything is written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from mdp_support import mdp_task, shiq

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import ExactPlan, Request
from shiqbench.report.formats import render
from shiqbench.report.of_run import report_of_run
from shiqbench.running.runner import describe_run

SMALL = {"task.seeds": 4, "task.horizon": 3, "train.updates": 40}


def run(algo: str, results: Path, **options: Any) -> shiqbench.RunResult:
    settings = {**SMALL, **options.pop("set", {})}
    if algo == "base":
        settings = {k: v for k, v in settings.items() if not k.startswith("train.")}
    return shiqbench.run(algo, "mdp", results=results, set=settings, **options)


def test_a_run_trains_evaluates_and_does_nothing_the_second_time(tmp_path: Path) -> None:
    first = run("shiq", tmp_path)
    assert first.primary["name"] == "relative_regret"
    assert first.primary["higher_is_better"] is False
    assert first.primary["value"] < 0.5
    assert first.budget == {"updates": 40, "tokens": 40 * 4 * 27 * 3, "episodes": 40 * 4 * 27}
    for name in ("config.json", "manifest.json", "train.jsonl", "checkpoint/model.safetensors", "DONE"):
        assert (first.path / name).is_file()
    records = pd.read_parquet(Path(first.evaluation["path"]) / "records.parquet")
    assert records["seed"].tolist() == [0, 1, 2, 3]
    regrets = records["relative_regret"]
    assert first.primary["value"] == pytest.approx(regrets.mean())
    assert (first.primary["low"], first.primary["high"]) == (None, None)  # of 4 instances
    manifest = read_json(first.path / "manifest.json")
    assert manifest["data"]["trajectories"] == 27
    assert manifest["data"]["data"] == "exact"
    assert manifest["resumed_at_update"] == 0
    assert read_json(Path(first.evaluation["path"]) / "manifest.json")["engine"] == {"version": "exact"}
    again = run("shiq", tmp_path)
    assert again.cached
    assert again.primary == first.primary


def test_the_table_says_what_the_regret_is_of(tmp_path: Path) -> None:
    run("base", tmp_path, set={"task.beta": 0.25})
    said = render(shiqbench.report.make_report(tmp_path), "markdown")
    assert (
        "- relative_regret is of the objective, return - beta KL to ref (beta 0.25); a higher return is not better by "
        "itself\n" in said
    )


def test_base_is_exactly_one_and_shared_by_every_seed_and_data_recipe(tmp_path: Path) -> None:
    base = run("base", tmp_path)
    assert (base.primary["value"], base.primary["low"], base.primary["high"]) == (1.0, None, None)
    assert base.metrics["kl_to_reference"] == 0
    run("shiq", tmp_path, seed=1)
    run("dpo", tmp_path, set={"task.coverage": 0.7, "task.behaviour": "uniform", "train.updates": 3})
    assert [p.name for p in (tmp_path / "mdp" / "base").iterdir()] == [base.cell[:12]]
    plan = make_plan(Request("shiq", "mdp", settings=SMALL, results=tmp_path))
    report = report_of_run(plan)
    assert [r.algorithm for b in report.blocks for r in b.rows] == ["shiq", "dpo", "base"]  # lower is better
    text = render(report, "markdown")
    assert all(heading in text for _, heading, _ in plan.task.columns)
    assert re.search(r"\| base .*\| 4 +\| 1.000 +\|", text)
    assert "no interval: fewer than 10 examples" in text


def test_another_setting_is_another_table(tmp_path: Path) -> None:
    run("base", tmp_path)
    run("base", tmp_path, set={"task.reward": "dense"})
    plan = make_plan(Request("base", "mdp", settings={"task.seeds": 4, "task.horizon": 3}, results=tmp_path))
    assert [len(b.rows) for b in report_of_run(plan).blocks] == [1]
    assert len(list((tmp_path / "mdp" / "base").iterdir())) == 2


def test_the_plan_says_what_will_be_done_and_needs_no_model_or_engine(tmp_path: Path) -> None:
    plan = make_plan(Request("shiq", "mdp", results=tmp_path))
    assert isinstance(plan, ExactPlan)
    assert plan.cell.start is None
    lines = "\n".join(describe_run(plan))
    assert "trains 300 (table) or 600 (transformer) updates of the default batch with adam, seed 0" in lines
    assert "evaluates with exact; cell" in lines
    assert make_plan(Request("shiq", "mdp", settings={"task.horizon": 5})).cell.digest == plan.cell.digest
    assert make_plan(Request("shiq", "mdp", settings={"train.save_every": 9})).cell.digest == plan.cell.digest


@pytest.mark.parametrize("preset", ["smoke", "cpu", "full"])
@pytest.mark.parametrize("algo", ["base", "sft", "dpo", "shiq"])
def test_presets_are_valid_and_give_the_losses_the_objectives_beta(algo: str, preset: str) -> None:
    plan = make_plan(Request(algo, "mdp", preset=preset))
    if algo != "base":
        plan.task.check(plan.cell.algorithm.load()(plan.cell.algo))
    assert not plan.cell.task_config.reduced()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algo.beta": 0.1}, r"^algo.beta = 0.1 but task.beta = 0.5; set both to one value$"),
        ({"task.beta": 0.25}, r"^algo.beta = 0.5 but task.beta = 0.25; set both to one value$"),
        ({"task.gamma": 0.9}, r"^algo.gamma = 1 but task.gamma = 0.9; set both to one value$"),
        ({"start.algorithm": "sft"}, r"start.algorithm = sft cannot be honoured: mdp brings its own policy"),
        ({"train.micro_tokens": 4}, r"unknown setting 'train.micro_tokens'"),
        ({"eval.max_tokens": 4}, r"unknown setting 'eval.max_tokens' .*; eval has no settings"),
    ],
)
def test_what_cannot_be_met_is_refused_before_anything_is_written(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run("shiq", tmp_path, set=settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "value"), [("model", "x"), ("engine", "vllm"), ("repeats", 2)])
def test_options_of_language_models_are_refused(option: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--{option} cannot be honoured: mdp brings its own policy"):
        run("shiq", tmp_path, **{option: value})


def test_both_set_is_accepted() -> None:
    task = mdp_task(beta=0.1, gamma=0.9)
    task.check(shiq(beta=0.1, gamma=0.9))
    with pytest.raises(ConfigError, match=r"algo.gamma = 1 but task.gamma = 0.9"):
        task.check(shiq(beta=0.1))


def test_a_data_set_without_pairs_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pair to train on: all returns of instance 0 are equal"):
        run("dpo", tmp_path, set={"task.coverage": 0.3})


def test_a_sample_and_random_transitions_run_whole(tmp_path: Path) -> None:
    grid = run(
        "shiq",
        tmp_path,
        set={
            "task.mdp": "grid",
            "task.horizon": 5,
            "task.noise": 0.2,
            "task.gamma": 0.9,
            "algo.gamma": 0.9,
            "task.episodes": 50,
            "train.updates": 4,
        },
    )
    manifest = read_json(grid.path / "manifest.json")
    assert manifest["data"]["data"] == "sample"
    assert manifest["data"]["trajectories"] == 50
    assert manifest["budget"]["episodes"] == 4 * 4 * 50
    # In some of these grids no path of five steps ends at the goal, so nothing can be gained there.
    metrics = grid.metrics
    assert 0 < metrics["seeds_without_gain"] < metrics["seeds"]
    assert math.isfinite(metrics["relative_regret"])
    records = pd.read_parquet(Path(grid.evaluation["path"]) / "records.parquet")
    assert records["relative_regret"].isna().sum() == metrics["seeds_without_gain"]


def test_metrics_are_means_and_agree_with_each_other(tmp_path: Path) -> None:
    task = mdp_task(reference="random")
    records = task.evaluate_weights(None)
    found = task.metrics(records)
    assert found.metrics["relative_regret"] == 1.0
    assert found.metrics["seeds"] == 4
    for r in records:
        assert r["best_objective"] > r["objective"]
        assert r["objective"] == pytest.approx(r["return"] - 0.5 * r["kl_to_reference"], abs=1e-12)
    best = task.solve()
    from safetensors.torch import save_file

    save_file({"logits": best.logp_SNA, "sampled": best.logp_SNA + torch.zeros(1)}, tmp_path / "model.safetensors")
    assert all(abs(r["relative_regret"]) < 1e-12 for r in task.evaluate_weights(tmp_path))
