"""Trials of tuning have a table of their own, and a recipe has one label in all tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import cell, evaluation
from test_ledger import tuned

from shiqbench.base.files import read_json, write_json
from shiqbench.report import make_report
from shiqbench.report.tables import text_tables
from shiqbench.store.cell import mark_done
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three trials of dpo with seed 0; the best runs with seeds 0 to 2, next to sft without tuning."""
    folder = tmp_path / "results"
    trials = [({"train.lr": lr}, cell(folder, "dpo", train={"lr": lr})) for lr in (0.1, 0.2, 0.3)]
    for number, (_, trial) in enumerate(trials):
        evaluation(trial, [0.1 * (3 - number)] * 12, split="validation")
    tuned(folder, "dpo", trials, best=2)
    evaluation(cell(folder, "base"), [1.0] * 12, split="validation")
    evaluation(cell(folder, "base"), [1.0] * 12, split="test")
    for seed in range(3):
        evaluation(cell(folder, "dpo", seed, train={"lr": 0.3}), [0.2] * 12, split="test")
        evaluation(cell(folder, "sft", seed), [0.4] * 12, split="test")
    return folder


def test_trials_are_a_table_that_says_so(results: Path) -> None:
    test, trials = make_report(results, baseline="sft").blocks
    assert (test.trials, trials.trials) == (False, True)
    assert trials.title.startswith("tuning trials: mdp on validation")
    assert [r.name for r in trials.rows] == ["dpo lr=0.3", "dpo lr=0.2", "dpo lr=0.1", "base"]
    assert "chosen: dpo lr=0.3, the best of 3 trials" in trials.notes
    assert not [n for n in trials.notes if "not compared" in n]
    assert [r.difference for r in trials.rows] == [None] * 4


def test_a_recipe_has_one_label_and_trials_are_not_in_the_overview(results: Path) -> None:
    evaluation(cell(results, "sft", task="toys"), [0.5] * 12, task="toys", metric="wins", higher=True)
    report = make_report(results)
    assert sorted(r.name for r in report.blocks[0].rows) == ["base", "dpo lr=0.3", "sft"]
    overview, *_ = text_tables(report)
    assert sorted(overview.frame["algorithm"]) == ["base", "dpo lr=0.3", "sft"]


def test_validation_of_rows_that_are_no_trials_keeps_all_their_seeds(results: Path) -> None:
    """As learning curves evaluate the final weights: the trial is one of these evaluations."""
    for seed in (1, 2):
        evaluation(cell(results, "dpo", seed, train={"lr": 0.3}), [0.1] * 12, split="validation")
    _, validation, trials = make_report(results).blocks
    assert [(r.name, r.seeds) for r in validation.rows] == [("dpo lr=0.3", [0, 1, 2]), ("base", [])]
    assert [(r.name, r.seeds) for r in trials.rows] == [("dpo lr=0.3", [0]), ("dpo lr=0.2", [0]), ("dpo lr=0.1", [0])]


def test_a_trial_on_test_is_a_row_like_any_other(results: Path) -> None:
    evaluation(cell(results, "dpo", train={"lr": 0.1}), [0.3] * 12, split="test")
    test, _ = make_report(results).blocks
    assert "dpo lr=0.1" in [r.name for r in test.rows]


def test_rows_of_several_tasks_in_one_table_are_told_apart(tmp_path: Path) -> None:
    """A task that only evaluates shows what was trained on two tasks."""
    for task in ("mdp", "toys"):
        for name in ("sft", "dpo"):
            folder = cell(tmp_path, name, task=task)
            evaluation(folder, [0.3] * 12, task="third", metric="wins", higher=True)
            evaluation(folder, [0.3] * 12, task=task)
    report = make_report(tmp_path)
    (third,) = [b for b in report.blocks if b.task == "third"]
    assert sorted(r.name for r in third.rows) == ["dpo on mdp", "dpo on toys", "sft on mdp", "sft on toys"]
    by_recipe: dict[str, set[str]] = {}
    for row in (r for b in report.blocks for r in b.rows):
        by_recipe.setdefault(row.evaluations[0].cell.recipe.key, set()).add(row.name)
    assert {len(names) for names in by_recipe.values()} == {1}


def test_what_a_tables_setting_tells_is_in_no_label(tmp_path: Path) -> None:
    """Two settings of a task are two tables; the recipes of an untrained policy differ in nothing else."""
    for horizon in (3, 4):
        folder = cell(tmp_path, "base", model={"embedded": str(horizon)})
        recipe = read_json(folder / "config.json")
        recipe["task"]["config"] = {"horizon": horizon}
        write_json(folder / "config.json", recipe)
        mark_done(folder, list(folder.glob("*.json")))
        evaluation(folder, [1.0] * 12, setting={"horizon": horizon})
    assert len(read_index(tmp_path).cells) == 2
    assert [[r.name for r in b.rows] for b in make_report(tmp_path).blocks] == [["base"], ["base"]]
