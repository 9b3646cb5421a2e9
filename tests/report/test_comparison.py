"""The comparison: every finished cell of one setting, and no other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import TOY

import shiqbench
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.report.comparison import comparable, comparison, differences, markdown


@pytest.fixture(scope="module")
def results(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    options: dict[str, Any] = {"model": str(tiny_model), "results": folder, "plugins": (TOY,)}
    small = {"train.updates": 1}
    shiqbench.run("sft", "toy", set=small, **options)
    shiqbench.run("shiq", "toy", set={**small, "algo.beta": 0.5}, **options)
    shiqbench.run("shiq", "toy", set={**small, "algo.beta": 0.25}, seed=1, **options)
    shiqbench.run("base", "toy", set={"eval.max_tokens": 3}, **options)
    shiqbench.run("base", "toy", set={"task.words": 4}, **options)
    return folder


def plan(results: Path, tiny_model: Path, *assignments: str) -> RunPlan:
    request = Request(
        "shiq", "toy", str(tiny_model), settings=parse_assignments(assignments), plugins=(TOY,), results=results
    )
    return make_plan(request)


def test_rows_are_the_finished_cells_of_this_setting(results: Path, tiny_model: Path) -> None:
    rows = comparable(plan(results, tiny_model))
    assert sorted(r.cell.algorithm for r in rows) == ["base", "sft", "shiq", "shiq"]
    short = comparable(plan(results, tiny_model, "eval.max_tokens=3"))
    assert [r.cell.algorithm for r in short] == ["base"]
    assert comparable(plan(results, tiny_model, "task.words=5")) == []


def test_rows_of_one_algorithm_say_how_they_differ(results: Path, tiny_model: Path) -> None:
    rows = comparable(plan(results, tiny_model))
    notes = dict(zip([(r.cell.algorithm, r.cell.seed) for r in rows], differences(rows), strict=True))
    assert notes["shiq", 0] == "beta=0.5"
    assert notes["shiq", 1] == "beta=0.25"
    assert notes["sft", 0] == notes["base", None] == ""


def test_the_printed_table_has_metric_interval_cost_and_marks_this_cell(results: Path, tiny_model: Path) -> None:
    text = io.StringIO()
    this = plan(results, tiny_model, "algo.beta=0.5", "train.updates=1")
    Console(file=text, width=200).print(comparison(this))
    said = text.getvalue()
    assert "right [95 %]" in said
    assert "[0.000, 1.000]" in said
    assert said.count("*shiq") == 1
    assert "transformers" in said
    assert markdown(this).splitlines()[0].startswith("| algorithm | cell |")


def test_an_unfinished_evaluation_is_no_row(results: Path, tiny_model: Path) -> None:
    before = comparable(plan(results, tiny_model))
    (done,) = results.glob(f"toy/sft/{before[[r.cell.algorithm for r in before].index('sft')].digest}/eval/*/DONE")
    text = done.read_text()
    done.unlink()
    try:
        assert len(comparable(plan(results, tiny_model))) == len(before) - 1
    finally:
        done.write_text(text)
