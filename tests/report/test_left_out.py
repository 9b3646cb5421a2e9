"""Examples without a score are left out on both sides, counted and named; they are never better or worse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.plugin.registry import registry
from shiqbench.plugin.task import Scores
from shiqbench.report.estimates import against
from shiqbench.report.formats import render
from shiqbench.report.known import KnownTask
from shiqbench.report.make import compare
from shiqbench.report.rows import Report
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")
HOW = Scores("id", "wins", without={"stop": "error"})
TOYS: dict[str, Any] = {"task": "toys", "metric": "wins", "higher": True}


def played(results: Path, name: str, seed: int, scores: list[float], crashed: str = "") -> None:
    """An evaluation; ``crashed`` has one letter per example, x for a crash."""
    stops = ["error" if c == "x" else "model" for c in crashed.ljust(len(scores))]
    evaluation(cell(results, name, seed, task="toys"), scores, records={"stop": stops}, **TOYS)


def reported(results: Path, how: Scores | None = HOW, baseline: str | None = "sft") -> Report:
    known = {"toys": KnownTask("toys", scores={"wins": how} if how else {})}
    return compare(read_index(results), known, ScoreBook(results), registry(), baseline)


def notes(report: Report) -> str:
    return "\n".join(n for b in report.blocks for n in b.notes)


def test_a_crash_in_one_of_two_seeds_costs_one_example(tmp_path: Path) -> None:
    for seed in (0, 1):
        played(tmp_path, "sft", seed, [0.1, 0.2, 0.3, 0.4])
    played(tmp_path, "dpo", 0, [0.2, 0.3, 0.4, 0.5])
    played(tmp_path, "dpo", 1, [0.2, 0.0, 0.4, 0.5], crashed=" x")
    report = reported(tmp_path)
    (found,) = (r.difference for r in report.blocks[0].rows if r.name == "dpo")
    assert found is not None
    assert found.estimate.value == pytest.approx(0.1)  # of the three examples that both have
    assert (found.seeds, found.units, found.better, found.worse) == (2, 3, 3, 0)
    assert "dpo less sft: 1 of 4 examples left out on both sides: x1 (stop=error)" in notes(report)


def test_a_crash_in_every_seed_of_one_row_is_no_lack_of_seeds(tmp_path: Path) -> None:
    for seed in (0, 1):
        played(tmp_path, "sft", seed, [0.1, 0.2, 0.3], crashed="x")
        played(tmp_path, "dpo", seed, [0.3, 0.3, 0.4], crashed="  x")
    said = notes(reported(tmp_path))
    assert "2 of 3 examples left out on both sides: x0 (stop=error), x2 (stop=error)" in said
    assert "share no" not in said


def test_an_example_that_no_evaluation_has_scored_is_none(tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        played(tmp_path, name, 0, [0.1, 0.2, 0.3], crashed="  x")
    report = reported(tmp_path)
    assert [r.difference.units for r in report.blocks[0].rows if r.difference] == [2]
    assert "left out" not in notes(report)


def test_where_no_example_is_common_that_is_the_reason(tmp_path: Path) -> None:
    played(tmp_path, "sft", 0, [0.1, 0.2], crashed="x ")
    played(tmp_path, "dpo", 0, [0.1, 0.2], crashed=" x")
    assert "dpo is not compared with sft: they share no scored example" in notes(reported(tmp_path))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_what_is_no_number_is_neither_better_nor_worse(tmp_path: Path, bad: float, *, higher: bool) -> None:
    played(tmp_path, "sft", 0, [0.1, 0.2, 0.3])
    options = {**TOYS, "higher": higher}
    records: dict[str, Any] = {"stop": ["model"] * 3, "wins": [0.2, bad, 0.4]}
    evaluation(cell(tmp_path, "dpo", 0, task="toys"), [0.2, bad, 0.4], records=records, **options)
    entries = {e.cell.algorithm: [e] for e in read_index(tmp_path).evaluations.values()}
    found = against(entries["dpo"], entries["sft"], HOW, ScoreBook(tmp_path))
    assert found is not None
    assert (found.better, found.worse, found.units) == ((2, 0, 2) if higher else (0, 2, 2))
    assert found.left_out == {"x1": "no finite score"}
    assert found.estimate.value == pytest.approx(0.1)


@pytest.mark.parametrize("higher", [True, False])
def test_a_result_that_is_no_number_is_last_and_named(tmp_path: Path, *, higher: bool) -> None:
    for name, score in (("dpo", math.nan), ("sft", 0.2), ("shiq", 0.3)):
        records = {"stop": ["model"]}
        evaluation(cell(tmp_path, name, 0, task="toys"), [score], records=records, **{**TOYS, "higher": higher})
    report = reported(tmp_path, baseline=None)
    (block,) = report.blocks
    assert block.rows[-1].name == "dpo"
    assert block.rows[-1].difference is None
    assert "NOT FINITE, no result: dpo seed 0 return=nan, dpo seed 0 wins=nan" in notes(report)


def test_json_is_json_for_everybody(tmp_path: Path) -> None:
    for name, extra in (("dpo", math.inf), ("sft", math.nan)):
        evaluation(cell(tmp_path, name, 0, task="toys"), [math.nan, 0.1], metrics={"length": extra}, **TOYS)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    whole = json.loads(render(reported(tmp_path, baseline=None), "json"), parse_constant=refuse)
    assert [r["metrics"]["length"] for r in whole["blocks"][0]["rows"]] == [None, None]
    assert [r["value"] for r in whole["blocks"][0]["rows"]] == [None, None]
