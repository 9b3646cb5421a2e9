"""The first note of a table: what may be concluded from it, by the corrected test only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation

from shiqbench.report import make_report
from shiqbench.report.formats import render
from shiqbench.report.page.make import page_of
from shiqbench.report.rows import Block, Report

pytestmark = pytest.mark.usefixtures("own_cache")

WEIGHTS = "about these weights, not about the algorithms"
HINT = "; shiqbench report --baseline NAME gives differences and p"


def made(results: Path, gains: dict[str, float], seeds: int = 3, examples: int = 40, **options: Any) -> Path:
    """Rows of a metric with these means, noisy by example and seed; ``base`` trains nothing."""
    rng = np.random.default_rng(0)
    hard = 0.5 + 0.1 * rng.normal(size=examples)
    for name, gain in gains.items():
        mine = hard + gain + 0.05 * rng.normal(size=examples)
        for seed in range(1 if name == "base" else seeds):
            of_cell = cell(results, name, seed, budget={"updates": 50 if name == "longer" else 10, "tokens": 1000})
            evaluation(of_cell, list(mine + 0.02 * rng.normal() + 0.05 * rng.normal(size=examples)), **options)
    return results


def result(results: Path, baseline: str | None = None) -> str:
    (block,) = make_report(results, baseline=baseline).blocks
    return only(block)


def only(block: Block) -> str:
    """The first note; no other one is a result."""
    assert [n.startswith("Result: ") for n in block.notes] == [True] + [False] * (len(block.notes) - 1)
    return block.notes[0].removeprefix("Result: ")


GAINS = {"sft": 0.0, "dpo": -0.04, "shiq": -0.2, "dro": 0.15, "copg": 0.0}


def test_what_is_better_worse_and_not_found_follows_the_corrected_test(tmp_path: Path) -> None:
    results = made(tmp_path, GAINS)
    assert result(results, "sft") == (
        "shiq is better than sft; dro is worse than sft; for dpo and copg no difference from sft is found"
    )


def test_a_higher_metric_turns_it_around(tmp_path: Path) -> None:
    results = made(tmp_path, {"sft": 0.0, "shiq": -0.2, "dro": 0.2}, higher=True)
    assert result(results, "sft").startswith("dro")


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_speak_of_these_weights(tmp_path: Path, seeds: int) -> None:
    results = made(tmp_path, {"base": 0.0, "shiq": -0.2, "dro": -0.2}, seeds)
    assert result(results, "base") == f"shiq and dro are better than base; with 1 or 2 seeds this is {WEIGHTS}"
    made(results, {"sft": -0.2}, 3)
    assert result(results, "base").endswith(f"; with 1 or 2 seeds this is for shiq and dro {WEIGHTS}")
    assert f"; with 1 or 2 seeds this is {WEIGHTS}" in result(results)


def test_where_better_is_withheld_only_the_direction_is_said(tmp_path: Path) -> None:
    results = made(tmp_path, {"sft": 0.0, "longer": -0.3})
    why = "(lower is better, but budgets of the rows differ)"
    assert result(results, "sft") == f"longer is lower than sft {why}"
    assert result(results).startswith(f"longer is lower than sft, the second row {why} (p ")


def test_without_a_baseline_it_is_of_the_two_best_rows(tmp_path: Path) -> None:
    found = result(made(tmp_path / "clear", {"sft": 0.0, "shiq": -0.3}))
    assert found.startswith("shiq is better than sft, the second row (p ")
    assert found.endswith(HINT)
    found = result(made(tmp_path / "not", {"sft": 0.0, "shiq": 0.0, "dro": 0.3}))
    assert found.startswith("no difference is found between the two best rows, ")
    assert found.endswith(HINT)
    assert "dro" not in found


def test_what_has_no_test_concludes_nothing(tmp_path: Path) -> None:
    few = made(tmp_path / "few", GAINS, examples=9)
    assert result(few, "sft") == "nothing can be concluded: no row has a test against sft"
    assert result(few) == "nothing can be concluded: the two best rows have no test" + HINT
    one = made(tmp_path / "one", {"sft": 0.0})
    assert result(one) == result(one, "sft") == "nothing is compared: sft is the only row"


def report_of_two_tables(results: Path) -> Report:
    made(results, {"base": 0.0, "shiq": -0.2, "dro": 0.0}, seeds=2)
    made(results, {"base": 0.0, "shiq": 0.2, "dro": 0.2}, split="test", higher=True, reduced=True)
    return make_report(results, baseline="base")


def test_every_format_and_the_summary_of_the_page_show_it(tmp_path: Path) -> None:
    report = report_of_two_tables(tmp_path)
    for form in ("markdown", "csv", "latex", "json"):
        assert "Result: shiq is better than base; for dro no difference from base is found" in render(report, form)
    second, first, *_ = page_of(report).main_notes
    assert first.startswith("mdp, relative_regret (lower is better): shiq is better than base")
    assert second.startswith("mdp on test, relative_regret (higher is better): ")


def test_the_overview_says_directions_and_caveats(tmp_path: Path) -> None:
    made(tmp_path, {"base": 0.0, "shiq": -0.2})
    made(tmp_path, {"base": 0.0, "dro": 0.2}, seeds=2, split="test", higher=True, reduced=True)
    text = render(make_report(tmp_path), "markdown")
    overview = text[: text.index("\n## ", 1)]
    assert "| mdp relative_regret ↓ (" in overview
    (up,) = re.findall(r"\| (mdp relative_regret ↑ \(test, \w+\)) ", overview)
    assert f"- REDUCED setting, smaller or easier than the task's full one: {up}" in overview
    assert f"- 1 or 2 seeds, so {WEIGHTS}: {up}: dro" in overview
    for beta in range(100, 50, -10):
        evaluation(cell(tmp_path, "sft", config={"beta": beta}), [0.1] * 40, split="test", higher=True, reduced=True)
    text = render(make_report(tmp_path), "markdown")
    assert re.findall(r"^\| sft beta=(\d+)", text[: text.index("\n## ", 1)], re.MULTILINE) == [
        "60",
        "70",
        "80",
        "90",
        "100",
    ]
    assert f"- 1 or 2 seeds, so {WEIGHTS}: {up}: all that is trained" in text
