"""Over tasks: what is normalised how, which rows enter, and what the tables and figures say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation

from shiqbench.plugin.registry import registry
from shiqbench.plugin.task import Scores
from shiqbench.report import Report, make_report
from shiqbench.report.aggregate.figures import draw_aggregate
from shiqbench.report.aggregate.scores import Aggregate
from shiqbench.report.formats import render
from shiqbench.report.known import KnownTask
from shiqbench.report.make import compare
from shiqbench.report.scores import ScoreBook
from shiqbench.report.tables import text_tables
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")

EXAMPLES = 20
HIGHER = Scores("id", "wins", share=True)
LOWER = Scores("id", "regret", top=0.0)
ENDLESS = Scores("id", "wins")


def regret(results: Path, task: str, name: str, seed: int, value: float, **of_cell: Any) -> None:
    """A row whose examples differ, with this mean."""
    noise = 0.05 * np.random.default_rng(seed).normal(size=EXAMPLES)
    scores = value + noise - noise.mean() + 0.1 * np.linspace(-1, 1, EXAMPLES)
    evaluation(cell(results, name, seed, task=task, **of_cell), scores.tolist(), task=task, metric="regret")


def wins(results: Path, task: str, name: str, seed: int, right: int, **options: Any) -> Path:
    scores = [1.0] * right + [0.0] * (EXAMPLES - right)
    of = cell(results, name, seed, task=task)
    return evaluation(of, scores, task=task, metric="wins", higher=True, **options)


def tasks(results: Path, number: int, algorithms: dict[str, float], seeds: int = 3) -> dict[str, KnownTask]:
    """Tasks with a regret of 1 untrained; the algorithms lower it by their number, more or less by seed and task."""
    names = [f"t{i}" for i in range(number)]
    for i, task in enumerate(names):
        regret(results, task, "base", 0, 1.0)
        for name, gain in algorithms.items():
            for seed in range(seeds):
                regret(results, task, name, seed, 1.0 - gain - 0.01 * seed - 0.02 * i)
    return {name: KnownTask(name, scores={"regret": LOWER}) for name in names}


def report(results: Path, known: dict[str, KnownTask], baseline: str | None = None) -> Report:
    return compare(read_index(results), known, ScoreBook(results), registry(), baseline)


def over(results: Path, known: dict[str, KnownTask], baseline: str | None = None) -> Aggregate:
    found = report(results, known, baseline).aggregate
    assert found is not None
    return found


def table(of: Report, title: str) -> dict[str, dict[str, str]]:
    """The lines of a table by algorithm, and by task where it has one."""
    (frame,) = (t.frame for t in text_tables(of) if t.title.startswith(title))
    lines = [dict(zip(frame.columns, line, strict=True)) for line in frame.to_numpy().tolist()]
    return {" ".join(line[c] for c in ("task", "algorithm") if c in line): line for line in lines}


def said(of: Report) -> str:
    return "\n".join(n for t in text_tables(of) if t.title.startswith(("Per", "Agg", "Prob")) for n in t.notes)


def test_the_untrained_row_is_0_and_the_top_is_1_whichever_way_is_better(tmp_path: Path) -> None:
    regret(tmp_path, "a", "base", 0, 0.8)
    wins(tmp_path, "b", "base", 0, 4)
    for seed in range(3):
        for name, value, right in (("sft", 0.2, 12), ("shiq", 0.4, 8)):
            regret(tmp_path, "a", name, seed, value)
            wins(tmp_path, "b", name, seed, right)
    known = {"a": KnownTask("a", scores={"regret": LOWER}), "b": KnownTask("b", scores={"wins": HIGHER})}
    found = over(tmp_path, known)
    assert found.scores["sft"].tolist() == [pytest.approx([0.75, 0.5])] * 3
    assert found.scores["base"].tolist() == [[0.0, 0.0]]
    assert "a regret 0.800 to 0, b wins 0.200 to 1" in said(report(tmp_path, known))


def test_a_worse_row_than_the_untrained_one_is_below_0(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": -0.5, "shiq": 0.05})
    assert over(tmp_path, known).scores["sft"][0].tolist() == pytest.approx([-0.5, -0.48])


def test_the_aggregates_by_hand(tmp_path: Path) -> None:
    known = tasks(tmp_path, 3, {"sft": 0.1, "shiq": 0.5})
    of = report(tmp_path, known, "sft")
    line = table(of, "Aggregate")["shiq"]
    # Seeds x tasks: 0.5 to 0.56 in steps of 0.01; the middle half of nine numbers leaves out two at each end.
    assert (line["seeds"], line["median"], line["mean rank"]) == ("3", "0.530", "1.00")
    assert line["mean [95 %]"].startswith("0.530 [")
    assert line["IQM [95 %]"].startswith("0.530 [")
    assert line["optimality gap [95 %]"].startswith("0.470 [")
    base = table(of, "Aggregate")["base"]
    assert [base[c] for c in ("mean [95 %]", "optimality gap [95 %]")] == ["0.000", "1.000"]
    assert table(of, "Probability")["shiq"]["above sft [95 %]"].startswith("1.000 [")
    assert table(of, "Probability")["base"]["above sft [95 %]"].startswith("0.000 [")
    assert list(table(of, "Aggregate")) == ["shiq", "sft", "base"]


def test_the_interval_of_the_mean_holds_examples_and_seeds(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.3, "shiq": 0.05})
    found = over(tmp_path, known)
    spread = found.spread("sft")
    assert spread is not None
    assert (spread.value > found.scores["sft"].var(0, ddof=1) / 3).all()


def test_every_task_shows_values_ranks_examples_and_seeds(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.5})
    for seed in range(3):
        regret(tmp_path, "t1", "dpo", seed, 1 - 0.1 - 0.01 * seed - 0.02)
    of = report(tmp_path, known)
    lines = table(of, "Per task")
    # Among all rows of the task, those of one value share the mean rank.
    ranks = {name: lines[f"t1 regret {name}"]["rank"] for name in ("shiq", "sft", "dpo", "base")}
    assert ranks == {"shiq": "1", "sft": "2.5", "dpo": "2.5", "base": "4"}
    assert [lines[f"t0 regret {name}"]["rank"] for name in ("shiq", "sft", "base")] == ["1", "2", "3"]
    counts = [(line["examples"], line["seeds"]) for line in (lines["t0 regret shiq"], lines["t0 regret base"])]
    assert counts == [("20", "3"), ("20", "-")]
    over_all = table(of, "Aggregate")
    assert {name: line["mean rank"] for name, line in over_all.items()} == {
        "shiq": "1.00",
        "sft": "2.00",
        "base": "3.00",
    }
    assert "not used: dpo: not in t0 regret" in said(of)


def test_the_aggregates_come_after_the_tables_of_the_tasks(tmp_path: Path) -> None:
    of = report(tmp_path, tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.5}), "sft")
    titles = [t.title.split()[0].split(",")[0] for t in text_tables(of)]
    assert titles == ["Overview", "t0", "t1", "Per", "Aggregate", "Probability", "Ledger:"]


def one_trained_row(results: Path) -> dict[str, KnownTask]:
    known = tasks(results, 2, {"sft": 0.1})
    for seed in range(3):
        regret(results, "t1", "dpo", seed, 0.3)
    return known


def no_trained_row(results: Path) -> dict[str, KnownTask]:
    known = tasks(results, 2, {})
    for seed in range(3):
        regret(results, "t0", "dpo", seed, 0.3)
        regret(results, "t1", "sft", seed, 0.3)
    return known


def two_seeds_in_one_task(results: Path) -> dict[str, KnownTask]:
    known = tasks(results, 2, {"sft": 0.1, "shiq": 0.5}, seeds=2)
    for name in ("sft", "shiq"):
        regret(results, "t0", name, 2, 0.7)
    return known


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (one_trained_row, "only sft is in all tasks"),
        (no_trained_row, "no trained row is in all tasks"),
        (two_seeds_in_one_task, "fewer than 3 seeds in a task (shiq, sft)"),
    ],
)
def test_too_little_for_an_aggregate_is_one_note(tmp_path: Path, made: Any, why: str) -> None:
    of = report(tmp_path, made(tmp_path), "base")
    assert [t.title for t in text_tables(of) if t.title.startswith(("Per", "Agg", "Prob"))] == ["Per task"]
    assert [n for n in said(of).splitlines() if "no aggregate" in n] == [f"no aggregate over tasks: {why}"]
    assert of.notes == []
    assert of.aggregate is not None
    assert not of.aggregate.names  # no figures either


def test_a_row_with_few_seeds_is_no_row_over_tasks(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.5})
    for task in known:
        regret(tmp_path, task, "dpo", 0, 0.01)
    of = report(tmp_path, known, "sft")
    assert list(table(of, "Aggregate")) == ["shiq", "sft", "base"]
    assert list(table(of, "Probability")) == ["shiq", "base"]
    assert "not used: dpo: fewer than 3 seeds in a task" in said(of)
    assert table(of, "Per task")["t0 regret dpo"]["rank"] == "1"


def test_one_task_says_nothing_over_tasks(tmp_path: Path) -> None:
    of = report(tmp_path, tasks(tmp_path, 1, {"sft": 0.1}))
    assert of.aggregate is None
    assert [t.title[:2] for t in text_tables(of)] == ["t0", "Le"]
    assert of.notes == []


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ("no top", "u wins: its task names no top of the metric, which would be 1"),
        ("no base", "u wins: no untrained rows, and one would be 0"),
        ("at the top", "u wins: the untrained row is at the top already (1.000)"),
        ("no scores", "u wins: its task names no top of the metric, which would be 1"),
    ],
)
def test_a_task_that_cannot_be_normalised_is_named(tmp_path: Path, spoilt: str, why: str) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.05})
    if spoilt != "no base":
        wins(tmp_path, "u", "base", 0, EXAMPLES if spoilt == "at the top" else 3)
    wins(tmp_path, "u", "sft", 0, 9)
    scores = {"no top": {"wins": ENDLESS}, "no scores": {}}.get(spoilt, {"wins": HIGHER})
    of = report(tmp_path, {**known, "u": KnownTask("u", scores=scores)})
    assert of.aggregate is not None
    assert [t.block.task for t in of.aggregate.tasks] == ["t0", "t1"]
    assert why in said(of)


def test_fewer_than_two_tasks_that_can_be_normalised_are_a_note(tmp_path: Path) -> None:
    known = tasks(tmp_path, 1, {"sft": 0.1})
    wins(tmp_path, "u", "sft", 0, 9)
    of = report(tmp_path, {**known, "u": KnownTask("u", scores={"wins": HIGHER})})
    assert of.notes == ["no aggregate over tasks: u wins: no untrained rows, and one would be 0"]
    assert not [t for t in text_tables(of) if t.title.startswith(("Per", "Agg"))]


def test_validation_and_smaller_blocks_of_a_task_are_not_used(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.05})
    of_cell, scores = next((tmp_path / "t1" / "sft").iterdir()), [0.9] * EXAMPLES
    evaluation(of_cell, scores, task="t1", metric="regret", split="validation")
    evaluation(of_cell, scores, task="t1", metric="regret", setting={"shots": 5})
    of = report(tmp_path, known)
    assert of.aggregate is not None
    assert {t.block.split for t in of.aggregate.tasks} == {""}
    assert table(of, "Aggregate")["sft"]["mean [95 %]"].startswith("0.120 [")
    (why,) = re.findall("not used: (.*)", said(of))
    assert why.endswith("another block of this task has more rows")


def test_tasks_have_as_many_seeds_as_the_task_with_the_fewest(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.05})
    regret(tmp_path, "t1", "sft", 7, 0.0)
    of = report(tmp_path, known)
    assert table(of, "Aggregate")["sft"]["seeds"] == "3"
    assert "sft: seeds beyond 3 per task, as one task has only 3" in said(of)


def test_few_examples_have_no_interval(tmp_path: Path) -> None:
    for task in ("v", "w"):
        evaluation(cell(tmp_path, "base", task=task), [1.0] * 9, task=task, metric="regret")
        for seed in range(3):
            for name, score in (("dpo", 0.5), ("sft", 0.6)):
                evaluation(cell(tmp_path, name, seed, task=task), [score] * 9, task=task, metric="regret")
    few = report(tmp_path, {t: KnownTask(t, scores={"regret": LOWER}) for t in ("v", "w")})
    assert table(few, "Aggregate")["dpo"]["mean [95 %]"] == "0.500"
    assert "no interval: fewer than 10 examples in a task (dpo, sft)" in said(few)


def test_a_baseline_with_two_rows_is_not_compared_over_tasks(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.5})
    for task in known:
        for seed in range(3):
            regret(tmp_path, task, "sft", seed, 0.4, config={"beta": 2})
    of = report(tmp_path, known, "sft")
    assert "probability of improvement over sft: it has 2 rows in all tasks" in said(of)
    assert not [t for t in text_tables(of) if t.title.startswith("Prob")]


def test_rows_of_one_name_are_told_apart_by_their_start(tmp_path: Path) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.05})
    for task in known:
        for number, gain in ((1, 0.2), (2, 0.6)):
            start = {"model": {"cell": str(number) * 64}, "start": f"sft/{number}"}
            for seed in range(3):
                regret(tmp_path, task, "dpo", seed, 1 - gain, **start)
    lines = table(report(tmp_path, known), "Aggregate")
    assert [lines[f"dpo from sft/{n}"]["median"] for n in (1, 2)] == ["0.200", "0.600"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_no_row_over_tasks(tmp_path: Path, bad: float) -> None:
    known = tasks(tmp_path, 2, {"sft": 0.1, "shiq": 0.05})
    regret(tmp_path, "t0", "dpo", 0, 0.5)
    evaluation(cell(tmp_path, "dpo", task="t1"), [0.5] * (EXAMPLES - 1) + [bad], task="t1", metric="regret")
    of = report(tmp_path, known)
    assert list(table(of, "Aggregate")) == ["sft", "shiq", "base"]
    assert "dpo: not in t1 regret" in said(of)


def test_ranks_are_tested_from_three_rows_and_five_tasks_on(tmp_path: Path) -> None:
    known = tasks(tmp_path, 4, {"sft": 0.1, "shiq": 0.5})
    assert "ranks are not tested: that needs 3 rows that differ and 5 tasks" in said(report(tmp_path, known))
    known = tasks(tmp_path / "more", 6, {"sft": 0.1, "shiq": 0.5})
    # Three rows in the same order in six tasks: Friedman's statistic is 12, and exp(-6) is .0025.
    assert "ranks: Friedman's test p = 0.0025; by Nemenyi's test differ: shiq and base" in said(
        report(tmp_path / "more", known)
    )


def test_figures_are_the_same_bytes_twice(tmp_path: Path) -> None:
    few = over(tmp_path / "few", tasks(tmp_path / "few", 2, {"sft": 0.1, "shiq": 0.05}))
    assert [p.name for p in draw_aggregate(few, tmp_path)] == ["profiles.svg"]
    found = over(tmp_path / "many", tasks(tmp_path / "many", 6, {"sft": 0.1, "shiq": 0.5}))
    once = [p.read_bytes() for p in draw_aggregate(found, tmp_path)]
    assert [p.read_bytes() for p in draw_aggregate(found, tmp_path)] == once
    assert [b"shiq" in svg for svg in once] == [True, True]


def test_the_tasks_of_the_project_are_normalised(tmp_path: Path) -> None:
    scenarios: dict[str, Any] = {
        "scenario": [f"s{i}" for i in range(EXAMPLES)],
        "right_turns": [1.0] * 5 + [0.0] * 15,
        "counted_turns": [1.0] * EXAMPLES,
        "stop": ["end"] * EXAMPLES,
        "valid": [1.0] * EXAMPLES,
    }
    rows = [("base", 1.0, 5, 0), *((name, 0.25, 10, seed) for name in ("sft", "shiq") for seed in range(3))]
    for name, value, right, seed in rows:
        evaluation(cell(tmp_path, name, seed, facts={"seconds": None}), [value] * EXAMPLES)
        records = scenarios | {"right_turns": [1.0] * right + [0.0] * (EXAMPLES - right)}
        of_cell = cell(tmp_path, name, seed, task="bfcl_v3")
        scores = records["right_turns"]
        evaluation(of_cell, scores, task="bfcl_v3", metric="turn_accuracy", higher=True, split="test", records=records)
    for form in ("markdown", "latex"):
        assert "Aggregate over 2 tasks" in render(make_report(tmp_path, baseline="base"), form)
    found = make_report(tmp_path, figures=tmp_path / "figures")
    assert found.aggregate is not None
    assert found.aggregate.scores["sft"].tolist() == [pytest.approx([1 / 3, 0.75])] * 3
    assert "profiles.svg" in [p.name for p in found.figures]
