"""A number has one interval: that of a report with one seed is the one in metrics.json, or both have none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up import cell, evaluation
from shiqbench_tasks.bfcl_v3 import metrics as bfcl
from shiqbench_tasks.environment.metrics import summarise as environment
from shiqbench_tasks.lm_eval.scoring import summarise as lm_eval
from shiqbench_tasks.lm_eval.suites import Suites
from shiqbench_tasks.mdp.config import MdpConfig
from shiqbench_tasks.mdp.task import MdpTask
from shiqbench_tasks.ultrafeedback.metrics import summarise as ultrafeedback

from shiqbench.plugin.task import Primary
from shiqbench.report import make_report
from shiqbench.stats.intervals import LEAST_EXAMPLES

pytestmark = pytest.mark.usefixtures("own_cache")
Rows = list[dict[str, Any]]


def of_mdp(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    records = [{"id": f"seed-{i}", "relative_regret": draw.lognormvariate(-2, 1), "return": 0.5} for i in range(n)]
    records[0]["relative_regret"] = None if n > 1 else 0.5  # its reference is the optimum
    return records, MdpTask(MdpConfig()).metrics(records).primary


def of_bfcl(draw: random.Random, n: int, name: str = "turn_accuracy") -> tuple[Rows, Primary]:
    records = []
    for scenario in range(n):
        turns = draw.randint(1, 7)
        right = sum(draw.random() < 0.6 for _ in range(turns))
        counts = {"scenario": scenario, "counted_turns": turns, "right_turns": right, "valid": right == turns}
        rest: dict[str, float] = dict.fromkeys(("parseable_messages", "assistant_messages", "tokens"), 1)
        rest["turn_reward"] = right / turns
        texts = {"category": "base", "stop": "final", "error_type": ""}
        records.append({"id": str(scenario), "repeat": 0, **counts, **rest, **texts})
    return records, Primary.of(bfcl.summarise(records), name)


def of_bfcl_valid(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_bfcl(draw, n, "valid")


def of_bfcl_reward(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_bfcl(draw, n, "turn_reward")


def of_ultrafeedback(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    numbers = ("reward", "chosen_reward", "base_reward", "win_chosen", "win_base", "k1", "k3")
    held_out = {"held_out_right": 7, "held_out_longer": 5, "held_out_pairs": 10}
    fixed = {"stop": "final", "tokens": 5, "sample_tokens": 6, "answer": "a b", "reference": "base", **held_out}
    records = [
        {"id": f"p{i}", "repeat": r, **{k: draw.random() for k in numbers}, **fixed} for i in range(n) for r in (0, 1)
    ]
    return records, Primary.of(ultrafeedback(records), "reward")


def of_environment(draw: random.Random, n: int, returns: Callable[[], float]) -> tuple[Rows, Primary]:
    fixed = {"steps": 2, "tokens": 9, "error": ""}
    records: Rows = [
        {"id": f"e{i}", "repeat": r, "return": returns(), "stop": "finished", **fixed} for i in range(n) for r in (0, 1)
    ]
    return records, Primary.of(environment(records), "return")


def of_wins(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_environment(draw, n, lambda: float(draw.random() < 0.7))


def of_lost_games(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_environment(draw, n, lambda: 0.0)


def of_returns(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_environment(draw, n, draw.random)


def of_lm_eval(draw: random.Random, n: int, metric: str, value: Callable[[], Any]) -> tuple[Rows, Primary]:
    from lm_eval.api.metrics import mean

    task = SimpleNamespace(aggregation=lambda: {metric: mean}, higher_is_better=lambda: {metric: True})
    records = [
        {"suite": "s", "doc": i, "filter": "none", "repeat": 0, "metrics": json.dumps({metric: value()})}
        | {"id": str(i), "cut": False, "reduced": False}
        for i in range(n)
    ]
    return records, lm_eval(records, Suites({"s": task}, {}, {"s": "s"})).primary


def of_shares(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_lm_eval(draw, n, "em", lambda: float(draw.random() < 0.8))


def of_means(draw: random.Random, n: int) -> tuple[Rows, Primary]:
    return of_lm_eval(draw, n, "f1", draw.random)


@pytest.mark.parametrize(
    "made",
    [
        *(of_mdp, of_bfcl, of_bfcl_valid, of_bfcl_reward, of_ultrafeedback),
        *(of_wins, of_lost_games, of_returns, of_shares, of_means),
    ],
)
@pytest.mark.parametrize("n", [1, LEAST_EXAMPLES - 1, LEAST_EXAMPLES + 1, 60])
def test_a_report_shows_the_interval_of_metrics_json(
    tmp_path: Path, made: Callable[[random.Random, int], tuple[Rows, Primary]], n: int
) -> None:
    played = dict.fromkeys(("of_wins", "of_lost_games", "of_returns"), "environment")
    task = {"of_mdp": "mdp", "of_ultrafeedback": "ultrafeedback", **played}.get(made.__name__, "lm_eval")
    task = "bfcl_v3" if "bfcl" in made.__name__ else task
    records, primary = made(random.Random(n), n)
    columns = {key: [r[key] for r in records] for key in records[0]}
    folder = evaluation(cell(tmp_path, "sft", task=task), [primary.value], primary=primary, records=columns, task=task)
    (row,) = make_report(tmp_path).blocks[0].rows
    found = row.estimate
    assert json.loads((folder / "metrics.json").read_text())["primary"]["low"] == primary.low
    assert (found.low is None) == (primary.low is None) == (n < LEAST_EXAMPLES)
    assert found.value == pytest.approx(primary.value)
    if n >= LEAST_EXAMPLES:
        assert primary.high is not None
        assert primary.low is not None
        assert primary.low < primary.high  # also where every game is lost
        assert (found.low, found.high) == pytest.approx((primary.low, primary.high), abs=1e-9)
