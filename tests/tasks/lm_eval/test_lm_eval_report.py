"""Reports compare lm-eval's suites example by example, where the metric is the mean of the examples' scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.report import make_report
from shiqbench.report.rows import Block

pytestmark = pytest.mark.usefixtures("own_cache")


def asked(results: Path, algorithm: str, metric: str, values: list[Any], score: float | None = None) -> None:
    """An evaluation of suite ``gsm8k``; its records also hold another suite and another filter."""
    name, _, rule = metric.partition("/")[2].partition(",")
    records = [
        {"suite": suite, "doc": doc, "filter": found, "metrics": json.dumps({name: value, "other": 9})}
        for suite, found, wrong in (("gsm8k", rule or "none", False), ("gsm8k", "strange", True), ("arc", rule, True))
        for doc, value in enumerate([0 for _ in values] if wrong else values)
    ]
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    mean = sum(flat) / len(flat) if score is None else score
    columns: dict[str, Any] = {
        "id": [str(i) for i in range(len(records))],
        **{k: [r[k] for r in records] for k in records[0]},
    }
    options: dict[str, Any] = {
        "task": "lm_eval",
        "metric": metric,
        "higher": True,
        "interval": (mean - 0.1, mean + 0.1),
    }
    of = cell(results, algorithm, task="lm_eval")
    evaluation(of, [mean] * len(records), records=columns, **options)


def compared(results: Path) -> Block:
    (block,) = make_report(results, baseline="sft").blocks
    return block


@pytest.mark.parametrize("metric", ["gsm8k/exact_match,strict-match", "gsm8k/acc_norm", "gsm8k/f1"])
def test_one_seed_is_compared_over_its_examples(tmp_path: Path, metric: str) -> None:
    right, wrong = [1.0] * 30, [0.0] * 10
    asked(tmp_path, "dpo", metric, right + wrong)
    asked(tmp_path, "sft", metric, [*[1.0] * 10, *[0.0] * 25, *[1.0] * 5])
    (found,) = (r.difference for r in compared(tmp_path).rows if r.name == "dpo")
    assert found is not None
    assert (found.units, found.better, found.worse) == (40, 20, 5)
    assert found.estimate.value == pytest.approx(15 / 40)
    assert found.estimate.low is not None
    assert found.estimate.low > 0
    assert found.p is not None
    assert found.p < 0.05


def test_lists_of_checks_are_shares_of_their_number(tmp_path: Path) -> None:
    asked(tmp_path, "dpo", "gsm8k/inst_level_strict_acc", [[True, True], [False], [True, False, True]])
    asked(tmp_path, "sft", "gsm8k/inst_level_strict_acc", [[True, False], [False], [True, False, True]])
    (found,) = (r.difference for r in compared(tmp_path).rows if r.name == "dpo")
    assert found is not None
    assert (found.units, found.better, found.worse) == (3, 1, 0)
    assert found.estimate.value == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("gsm8k/word_perplexity", [[-3.0, 7], [-4.0, 9]]),  # a quotient inside an exponential
        ("gsm8k/f1", [["yes", "no"], ["no", "no"]]),  # pairs of words
        ("mmlu/acc", [1.0, 0.0]),  # a group, whose records have the names of its suites
    ],
)
def test_any_other_aggregation_is_compared_by_seed_and_says_so(tmp_path: Path, metric: str, values: list[Any]) -> None:
    for name, score in (("dpo", 5.1), ("sft", 5.3)):
        asked(tmp_path, name, metric, values, score)
    block = compared(tmp_path)
    assert f"compared by seed only: {metric} is not the mean of scores that the records hold" in block.notes
    (found,) = (r.difference for r in block.rows if r.name == "dpo")
    assert found is not None
    assert found.units is None
