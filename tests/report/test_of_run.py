"""What a run prints: every finished cell of its settings, and no other, with its own row marked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support import TOY

import shiqbench
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.report.formats import render
from shiqbench.report.make import make_report
from shiqbench.report.of_run import report_of_run
from shiqbench.report.rows import Row
from shiqbench.report.tables import block_frame


@pytest.fixture(scope="module")
def results(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    options: dict[str, Any] = {"model": str(tiny_model), "results": folder, "plugins": (TOY,)}
    small = {"train.updates": 1}
    shiqbench.run("sft", "toy", set=small, **options)
    shiqbench.run("shiq", "toy", set={**small, "algo.beta": 0.5}, **options)
    shiqbench.run("shiq", "toy", set={**small, "algo.beta": 0.25}, seed=1, **options)
    shiqbench.run("shiq", "toy", set={**small, "algo.beta": 0.25}, seed=2, **options)
    shiqbench.run("base", "toy", set={"eval.max_tokens": 3}, **options)
    shiqbench.run("base", "toy", set={"task.words": 4}, **options)
    return folder


def plan(results: Path, tiny_model: Path, *assignments: str, seed: int = 0) -> RunPlan:
    settings = parse_assignments(assignments)
    request = Request("shiq", "toy", str(tiny_model), seed, settings=settings, plugins=(TOY,), results=results)
    return make_plan(request)


def rows(plan: RunPlan) -> list[Row]:
    return [row for block in report_of_run(plan).blocks for row in block.rows]


def test_rows_are_the_finished_cells_of_this_setting(results: Path, tiny_model: Path) -> None:
    found = rows(plan(results, tiny_model))
    assert sorted((r.algorithm, r.label) for r in found) == [
        ("base", ""), ("sft", ""), ("shiq", "beta=0.25"), ("shiq", "beta=0.5"),
    ]  # fmt: skip
    assert [r.algorithm for r in rows(plan(results, tiny_model, "eval.max_tokens=3"))] == ["base"]
    assert rows(plan(results, tiny_model, "task.words=5")) == []


def test_the_run_is_marked_though_its_row_has_other_seeds(results: Path, tiny_model: Path) -> None:
    this = plan(results, tiny_model, "algo.beta=0.25", "train.updates=1", seed=2)
    report = report_of_run(this)
    assert [r.label for b in report.blocks for r in b.rows if r.own] == ["beta=0.25"]
    text = render(report, "markdown")
    assert re.search(r"\| shiq \* +\| beta=0\.25 +\| 1-2 ", text)
    assert text.count("shiq *") == 1
    assert f"- this run (*): {this.cell.label}, seed 2, right " in text
    assert "right [95 %]" in text
    assert "transformers" in text


def test_an_unfinished_evaluation_is_no_row_and_is_said(results: Path, tiny_model: Path) -> None:
    before = rows(plan(results, tiny_model))
    (done,) = results.glob("toy/sft/*/eval/*/DONE")
    text = done.read_text()
    done.unlink()
    try:
        report = report_of_run(plan(results, tiny_model))
    finally:
        done.write_text(text)
    assert len(report.blocks[0].rows) == len(before) - 1
    assert "NO RESULT: 1 of sft partial" in report.blocks[0].notes


def test_run_and_report_show_the_same_columns_and_rows(results: Path, tiny_model: Path) -> None:
    (of_run,) = report_of_run(plan(results, tiny_model)).blocks
    (of_all,) = (b for b in make_report(results, plugins=(TOY,)).blocks if b.setting == of_run.setting)
    assert list(block_frame(of_run).columns) == list(block_frame(of_all).columns)
    assert [r.name for r in of_run.rows] == [r.name for r in of_all.rows]
