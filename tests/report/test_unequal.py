"""A planted confound is named: above the table if the rows' tuning, budget or data differ, below it otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation
from test_ledger import tuned

from shiqbench.report import make_report
from shiqbench.report.formats import render
from shiqbench.report.rows import Block, Report
from shiqbench.report.tables import text_tables
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")

SCORES = [0.2, 0.4] * 6
EQUAL = "checked and equal: budgets, tuning, data"
MACHINE = {"cpu": "one", "cores": 2}


def only(report: Report) -> Block:
    (block,) = [b for b in report.blocks if not b.trials]
    return block


def two_rows(results: Path, **of_dpo: Any) -> Block:
    """Two algorithms, one of them with something else as well."""
    for seed in range(3):
        evaluation(cell(results, "sft", seed), [s + 0.01 * seed for s in SCORES])
        evaluation(cell(results, "dpo", seed, **of_dpo), [s - 0.1 - 0.01 * seed for s in SCORES])
    return only(make_report(results, baseline="sft"))


def test_nothing_planted_nothing_said(tmp_path: Path) -> None:
    block = two_rows(tmp_path)
    assert (block.above, block.withheld) == ([], "")
    assert "better/worse/same" in render(make_report(tmp_path, baseline="sft"), "markdown")
    assert "hardware" not in "\n".join(block.notes)
    assert EQUAL in block.notes


def test_another_budget_withholds_better(tmp_path: Path) -> None:
    block = two_rows(tmp_path, budget={"updates": 20, "tokens": 2000})
    assert block.above[0].startswith("UNEQUAL budgets (updates, tokens): ")
    assert "dpo: 20 updates, 2e+03 tokens" in block.above[0]
    assert block.above[1] == "No row is called better: budgets of the rows differ"
    assert block.withheld == "budgets of the rows differ"


def test_more_trials_withhold_better(tmp_path: Path) -> None:
    trials = [({"algo.beta": b}, cell(tmp_path, "dpo", 9, config={"beta": b})) for b in (0.1, 0.2, 0.3, 0.4)]
    tuned(tmp_path, "dpo", trials, best=1)
    block = two_rows(tmp_path, config={"beta": 0.2})
    assert "UNEQUAL tuning: dpo: 4 trials; sft: none" in block.above
    assert block.withheld == "tuning of the rows differ"


def test_as_many_trials_are_equal(tmp_path: Path) -> None:
    for name, best in (("dpo", 0), ("sft", 1)):
        trials = [({"algo.beta": b}, cell(tmp_path, name, 9, config={"beta": b})) for b in (0.1, 0.2)]
        tuned(tmp_path, name, trials, best)
        evaluation(cell(tmp_path, name, 0, config={"beta": (0.1, 0.2)[best]}), SCORES)
    assert only(make_report(tmp_path)).above == []


def test_other_data_are_said_and_leave_better(tmp_path: Path) -> None:
    block = two_rows(tmp_path, data={"sha256": "ab" * 32})
    assert block.above == ["UNEQUAL data: dpo: abababababab; sft: -"]
    assert block.withheld == ""
    assert not any(n.startswith("checked and equal") for n in block.notes)


def test_data_of_two_tasks_are_not_called_equal(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "sft"), SCORES)
    evaluation(cell(tmp_path, "dpo", task="toys"), SCORES)
    assert "checked and equal: budgets, tuning" in only(make_report(tmp_path)).notes


def test_one_trained_row_is_equal_to_nothing(tmp_path: Path) -> None:
    for name in ("base", "sft"):
        evaluation(cell(tmp_path, name), SCORES)
    assert not any(n.startswith("checked") for n in only(make_report(tmp_path)).notes)


def test_other_hardware_is_a_note_and_no_unequal_seconds(tmp_path: Path) -> None:
    for seed in range(3):
        evaluation(cell(tmp_path, "sft", seed, facts={"seconds": 5.0, "hardware": MACHINE}), SCORES)
        gpu = {"seconds": 500.0, "hardware": {**MACHINE, "gpus": ["H200", "H200"]}}
        evaluation(cell(tmp_path, "dpo", seed, facts=gpu), SCORES)
    block = only(make_report(tmp_path))
    assert (block.above, block.withheld) == ([], "")
    (said,) = [n for n in block.notes if n.startswith("hardware differs")]
    assert "dpo: 2 x H200" in said
    assert "sft: one, 2 cores" in said


@pytest.mark.parametrize(("seconds", "said"), [((0.4, 1.9), False), ((100.0, 150.0), False), ((100.0, 250.0), True)])
def test_seconds_are_a_note_and_no_budget(tmp_path: Path, seconds: tuple[float, float], said: bool) -> None:
    for name, each in zip(("sft", "dpo"), seconds, strict=True):
        evaluation(cell(tmp_path, name, facts={"seconds": each, "hardware": MACHINE}), SCORES)
    block = only(make_report(tmp_path))
    assert (block.above, block.withheld) == ([], "")
    notes = [n for n in block.notes if n.startswith("seconds of training differ")]
    assert [n[:69] for n in notes] == ["seconds of training differ by a factor of 2.5: sft 100 s, dpo 250 s; "] * said


def test_many_budgets_are_given_by_the_smallest_and_the_largest(tmp_path: Path) -> None:
    for tokens in (1_000, 2_000, 30_000, 4_000, 5_000):
        evaluation(cell(tmp_path, "dpo", budget={"updates": 10, "tokens": tokens}, config={"beta": tokens}), SCORES)
    (said,) = [a for a in only(make_report(tmp_path)).above if a.startswith("UNEQUAL")]
    assert said == (
        "UNEQUAL budgets (tokens): 5 rows, from dpo beta=1000: 10 updates, 1e+03 tokens "
        "to dpo beta=30000: 10 updates, 3e+04 tokens"
    )


def test_the_start_and_untrained_rows_are_no_part_of_it(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "base"), SCORES)
    start = cell(tmp_path, "sft", 0, config={"beta": 1}, budget={"updates": 99, "tokens": 99_000})
    digest = next(c.digest for c in read_index(tmp_path).cells.values() if c.algorithm == "sft")
    for each in (start, *(cell(tmp_path, n, 0, model={"cell": digest}, start="sft/x") for n in ("sft", "shiq"))):
        evaluation(each, SCORES)
    assert only(make_report(tmp_path)).above == []


@pytest.mark.parametrize("engine", ["vllm 0.33", "transformers 5"])
def test_two_engines_are_two_tables_that_name_each_other(tmp_path: Path, engine: str) -> None:
    evaluation(cell(tmp_path, "sft"), SCORES, engine="vllm 0.32", split="test")
    evaluation(cell(tmp_path, "dpo"), SCORES, engine=engine, split="test")
    evaluation(cell(tmp_path, "dpo"), SCORES, engine=engine, split="train")
    report = make_report(tmp_path)
    said = {(b.engine, b.split): [n for n in b.notes if "under another engine" in n] for b in report.blocks}
    assert [len(v) for v in said.values()].count(1) == 2
    assert f"under another engine: {engine}, setting" in said["vllm 0.32", "test"][0]
    assert "under another engine: vllm 0.32, setting" in said[engine, "test"][0]
    assert said[engine, "train"] == []


@pytest.mark.parametrize("higher", [True, False])
def test_without_better_the_counts_are_higher_and_lower(tmp_path: Path, higher: bool) -> None:
    """Of 12 examples dpo is higher in 9, lower in 2."""
    theirs = [0.5] * 12
    mine = [0.6] * 9 + [0.4] * 2 + [0.5]
    for name, scores, updates in (("sft", theirs, 10), ("dpo", mine, 20)):
        folder = cell(tmp_path, name, budget={"updates": updates, "tokens": 1000})
        evaluation(folder, scores, higher=higher)
    report = make_report(tmp_path, baseline="sft")
    (table, *_) = text_tables(report)
    row = table.frame[table.frame["algorithm"] == "dpo"].iloc[0]
    assert row["higher/lower/same"] == "9/2/1"
    assert not [c for c in table.frame.columns if "better" in c]
    (block,) = json.loads(render(report, "json"))["blocks"]
    (dpo,) = [r for r in block["rows"] if r["algorithm"] == "dpo"]
    assert (dpo["better"], dpo["worse"]) == (None, None)


def test_every_format_says_it_above(tmp_path: Path) -> None:
    two_rows(tmp_path, budget={"updates": 20, "tokens": 1000})
    report = make_report(tmp_path)
    for form, mark in (("markdown", "| algorithm"), ("latex", "\\begin{tabular}")):
        text = render(report, form)
        assert 0 < text.index("UNEQUAL budgets (updates)") < text.index(mark)
    (block,) = json.loads(render(report, "json"))["blocks"]
    assert block["above"][0].startswith("UNEQUAL budgets (updates)")
    assert block["withheld"] == "budgets of the rows differ"
    assert "No row is called better" in render(report, "csv")


def test_the_overview_says_which_columns_are_unequal(tmp_path: Path) -> None:
    two_rows(tmp_path, budget={"updates": 20, "tokens": 1000})
    evaluation(cell(tmp_path, "sft", task="toys"), SCORES, task="toys", metric="wins", higher=True)
    (first, *_) = text_tables(make_report(tmp_path))
    assert first.title.startswith("Overview")
    assert first.above == ["mdp relative_regret ↓: budgets of the rows differ"]
