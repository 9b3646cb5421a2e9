"""Intervals and comparisons of the report: exact where they can be, and with the coverage that they promise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation

from shiqbench.plugin.task import Scores
from shiqbench.report.estimates import against, over_seeds
from shiqbench.report.scores import ScoreBook
from shiqbench.stats.intervals import difference, joined, student, wilson
from shiqbench.store.index import EvaluationEntry, read_index

pytestmark = pytest.mark.usefixtures("own_cache")
MEAN = Scores("id", "relative_regret")
SHARE = Scores("id", "valid", share=True)


def entries(results: Path, name: str) -> list[EvaluationEntry]:
    found = [e for e in read_index(results).evaluations.values() if e.cell.algorithm == name]
    return sorted(found, key=lambda e: e.cell.seed or 0)


def test_difference_of_shares_is_newcombes() -> None:
    """Newcombe (1998), table II, pair (36, 12, 2, 0) of 50, method 10 without the correction of phi."""
    a, b, c, d = 36, 12, 2, 0
    n = a + b + c + d
    one, other = (a + b) / n, (a + c) / n
    phi = (a * d - b * c) / math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    low, high = difference((one, *wilson(a + b, n)), (other, *wilson(a + c, n)), phi)
    assert (low, high) == pytest.approx((0.0569, 0.3404), abs=2e-4)


def test_joined_intervals() -> None:
    assert joined(1.0, (0.0, 2.0)) == (0.0, 2.0)
    assert joined(0.0, (-3.0, 0.0), (-4.0, 1.0)) == (-5.0, 1.0)


def test_one_seed_has_the_interval_of_its_evaluation(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo"), [0.2, 0.4], interval=(0.1, 0.7))
    found = over_seeds(entries(tmp_path, "dpo"))
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == (0.1, 0.7)
    assert "one seed" in found.how


def test_several_seeds_join_their_spread_to_the_examples(tmp_path: Path) -> None:
    for seed, value in enumerate((0.2, 0.3, 0.4)):
        evaluation(cell(tmp_path, "dpo", seed), [value], interval=(value - 0.1, value + 0.2))
    found = over_seeds(entries(tmp_path, "dpo"))
    half = student([0.2, 0.3, 0.4])[1] - 0.3
    assert found.low == pytest.approx(0.3 - math.hypot(half, 0.1))
    assert found.high == pytest.approx(0.3 + math.hypot(half, 0.2))


def test_a_row_and_itself_differ_by_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        evaluation(cell(tmp_path, "dpo", seed), [0.1 * seed, 0.5])
    rows = entries(tmp_path, "dpo")
    found = against(rows, rows, MEAN, ScoreBook(tmp_path))
    assert found is not None
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0, 0, 0)
    assert (found.better, found.worse, found.p, found.units) == (0, 0, 1.0, 2)


def test_seeds_are_paired_with_seeds_and_examples_with_examples(tmp_path: Path) -> None:
    """What a hard seed and a hard example do to both cancels: the difference is exact though both vary widely."""
    noise = np.random.default_rng(0).normal(0, 5, (3, 8))
    for seed in range(3):
        evaluation(cell(tmp_path, "dpo", seed), (noise[seed] - 1).tolist())
        evaluation(cell(tmp_path, "sft", seed), noise[seed].tolist())
    evaluation(cell(tmp_path, "sft", 7), [100.0] * 8)  # has no partner
    found = against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), MEAN, ScoreBook(tmp_path))
    assert found is not None
    assert (found.seeds, found.units, found.better, found.worse) == (3, 8, 8, 0)  # a lower regret is better
    assert found.estimate.low == pytest.approx(-1)
    assert found.estimate.high == pytest.approx(-1)
    assert found.p == pytest.approx(2 / 2**8)


def test_what_trains_nothing_is_paired_with_every_seed(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "base"), [1.0, 1.0])
    for seed in range(2):
        evaluation(cell(tmp_path, "dpo", seed), [0.5, 0.3 + 0.1 * seed])
    dpo, base = entries(tmp_path, "dpo"), entries(tmp_path, "base")
    found, turned = (against(*pair, MEAN, ScoreBook(tmp_path)) for pair in ((dpo, base), (base, dpo)))
    assert found is not None
    assert turned is not None
    assert found.seeds == 2
    assert found.estimate.value == pytest.approx(-0.575)
    assert turned.estimate.value == pytest.approx(0.575)
    assert (turned.better, turned.worse) == (found.worse, found.better)


def test_without_a_common_seed_or_with_other_examples_nothing_is_compared(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo", 0), [0.5])
    evaluation(cell(tmp_path, "sft", 1), [0.5])
    evaluation(cell(tmp_path, "dro", 0), [0.5, 0.6])
    book = ScoreBook(tmp_path)
    assert against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), MEAN, book) is None
    assert against(entries(tmp_path, "dpo"), entries(tmp_path, "dro"), MEAN, book) is None


def test_without_scores_seeds_alone_are_compared(tmp_path: Path) -> None:
    for seed in range(3):
        evaluation(cell(tmp_path, "dpo", seed), [0.1 * seed])
        evaluation(cell(tmp_path, "sft", seed), [0.1 * seed + 0.2])
    found = against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), None, ScoreBook(tmp_path))
    assert found is not None
    assert (found.units, found.better, found.p) == (None, 3, 0.25)
    assert found.estimate.value == pytest.approx(-0.2)


def test_one_seed_without_scores_has_no_interval_and_says_so(tmp_path: Path) -> None:
    for name in ("dpo", "sft"):
        evaluation(cell(tmp_path, name), [0.1])
    found = against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), None, ScoreBook(tmp_path))
    assert found is not None
    assert (found.estimate.low, found.estimate.how) == (None, "none with one seed and no score per example")


def test_two_shares_that_never_succeed_have_a_width(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": "valid", "higher": True, "interval": wilson(0, 50)}
    for name in ("dpo", "sft"):
        for seed in range(3):
            evaluation(cell(tmp_path, name, seed), [0.0] * 50, **options)
    found = against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), SHARE, ScoreBook(tmp_path))
    assert found is not None
    assert found.estimate.low == pytest.approx(-wilson(0, 50)[1])
    assert found.estimate.high == pytest.approx(wilson(0, 50)[1])


def test_a_ratio_of_sums_is_scored_so_that_its_mean_is_the_metric(tmp_path: Path) -> None:
    import pandas as pd

    from shiqbench.store.cell import mark_done

    at = evaluation(cell(tmp_path, "dpo"), [0.5])
    rows = pd.DataFrame({"id": ["a", "a", "b", "c"], "right": [1, 2, 0, 9], "all": [2, 2, 4, 9], "stop": list("ooox")})
    rows.to_parquet(at / "records.parquet")
    mark_done(at, list(at.glob("*.*")))
    how = Scores("id", "right", "all", share=True, without={"stop": "x"})
    means = ScoreBook(tmp_path).of(entries(tmp_path, "dpo"), how).means()
    assert list(means.columns) == ["a", "b"]
    assert means.to_numpy().mean() == pytest.approx(3 / 8)


@pytest.mark.parametrize(("seed_spread", "unit_spread"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.2)])
def test_intervals_over_seeds_and_examples_hold_the_truth(seed_spread: float, unit_spread: float) -> None:
    """Simulated: three seeds, all on the same 40 examples; t over the seeds alone misses where examples vary."""
    rng = np.random.default_rng(1)
    joint = alone = 0
    for _ in range(400):
        noise = rng.normal(0, 1, (3, 40)) + rng.normal(0, seed_spread, (3, 1)) + rng.normal(0, unit_spread, (1, 40))
        means, own = noise.mean(axis=1).tolist(), [student(row) for row in noise.tolist()]
        over_examples = (float(np.mean([a for a, _ in own])), float(np.mean([b for _, b in own])))
        low, high = joined(float(noise.mean()), over_examples, student(means))
        joint += low <= 0 <= high
        low, high = student(means)
        alone += low <= 0 <= high
    assert joint >= 0.93 * 400
    if unit_spread > seed_spread == 0:
        assert alone < 0.90 * 400
