"""Metrics from records alone: whose interval, and what one example cannot have."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from shiqbench_tasks.lm_eval.scoring import summarise
from shiqbench_tasks.lm_eval.suites import Suites

from shiqbench.stats.intervals import Z_95, clustered_wilson, student, wilson

pytestmark = pytest.mark.slow  # importing lm-eval takes seconds


def record(doc: int, values: dict[str, Any], rule: str = "none", repeat: int = 0, suite: str = "s") -> dict[str, Any]:
    return {
        "suite": suite,
        "doc": doc,
        "filter": rule,
        "repeat": repeat,
        "metrics": json.dumps(values),
        "cut": doc == 0,
        "reduced": False,
    }


def suites(aggregation: dict[str, Any], groups: dict[str, Any] | None = None, lower: tuple[str, ...] = ()) -> Suites:
    task = SimpleNamespace(
        aggregation=lambda: aggregation, higher_is_better=lambda: {name: name not in lower for name in aggregation}
    )
    return Suites({"s": task}, groups or {}, {name: name for name in (groups or {"s": None})})


def mean() -> Any:
    from lm_eval.api.metrics import mean

    return mean


def test_a_share_has_wilsons_interval_and_lm_evals_error_beside_it() -> None:
    found = summarise([record(i, {"acc": float(i < 3)}) for i in range(10)], suites({"acc": mean()}))
    assert found.primary.name == "s/acc"
    assert found.primary.value == pytest.approx(0.3)
    assert (found.primary.low, found.primary.high) == pytest.approx(wilson(3, 10))
    assert found.metrics["s/acc_stderr"] == pytest.approx((0.3 * 0.7 / 9) ** 0.5)
    assert (found.metrics["s"], found.metrics["examples"], found.metrics["answers_cut"]) == (found.primary.value, 10, 1)


def test_checks_and_repeats_of_one_example_are_one_cluster() -> None:
    checks = [[True, True], [False], [True, False, True], [False, False]] * 3
    flat = [x for inner in checks for x in inner]

    def share(items: list[list[bool]]) -> float:
        return sum(x for inner in items for x in inner) / len(flat)

    found = summarise([record(i, {"inst": c}) for i, c in enumerate(checks)], suites({"inst": share}))
    expected = clustered_wilson([sum(c) for c in checks], [len(c) for c in checks])
    assert (found.primary.low, found.primary.high) == pytest.approx(expected)
    assert "s/inst_stderr" not in found.metrics
    again = [record(i, {"acc": i % 2}, repeat=r) for r in range(3) for i in range(12)]
    wide = summarise(again, suites({"acc": mean()})).primary
    assert (wide.low, wide.high) == pytest.approx(clustered_wilson([0, 3] * 6, [3] * 12))


def test_other_means_have_students_and_other_aggregations_a_bootstrap() -> None:
    values = [0.5, 2.0, 3.5, 1.0] * 3
    records = [record(i, {"f": v, "worst": v}) for i, v in enumerate(values)]
    found = summarise(records, suites({"f": mean(), "worst": max}, lower=("f",)))
    assert (found.primary.low, found.primary.high) == pytest.approx(student(values))
    assert not found.primary.higher_is_better
    assert found.metrics["s/worst_low"] <= found.metrics["s/worst_high"] == 3.5
    assert summarise(records, suites({"f": mean(), "worst": max})).metrics == found.metrics


def test_filters_are_metrics_of_their_own() -> None:
    records = [record(i, {"em": float(rule == "loose")}, rule) for i in range(3) for rule in ("strict", "loose")]
    found = summarise(records, suites({"em": mean()}))
    assert (found.metrics["s/em,strict"], found.metrics["s/em,loose"]) == (0.0, 1.0)
    assert found.primary.name == "s/em,strict"
    assert found.metrics["examples"] == 3


def test_a_group_is_aggregated_by_lm_eval() -> None:
    from lm_eval.api.group import Group
    from lm_eval.config.group import AggMetricConfig

    group = Group("g", aggregate_metric_list=[AggMetricConfig(metric="acc")])
    loaded = suites({"acc": mean()}, {"g": group})
    loaded.tasks["s"].task_name = "s"
    group.get_all_tasks = lambda recursive=True: [loaded.tasks["s"]]
    primary = summarise([record(i, {"acc": float(i < 3)}) for i in range(10)], loaded).primary
    error = (0.3 * 0.7 / 9) ** 0.5
    assert primary.name == "g/acc"
    assert primary.value == pytest.approx(0.3)
    assert (primary.low, primary.high) == pytest.approx((0.3 - Z_95 * error, 0.3 + Z_95 * error))


@pytest.mark.parametrize("value", [0.5, 1.0, [True, False]])
@pytest.mark.parametrize(("examples", "interval"), [(1, False), (9, False), (10, True)])
def test_few_examples_have_no_interval(value: Any, examples: int, *, interval: bool) -> None:
    of = (lambda items: 0.5) if isinstance(value, list) else mean()
    found = summarise([record(i, {"f": value}) for i in range(examples)], suites({"f": of}))
    assert (found.primary.low is not None, "s/f_high" in found.metrics) == (interval, interval)
