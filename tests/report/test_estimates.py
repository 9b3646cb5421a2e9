"""Intervals and comparisons of the report: exact where they can be, and with the coverage that they promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation
from scipy import stats

from shiqbench.plugin.task import Scores
from shiqbench.report.estimates import against, over_seeds
from shiqbench.report.scores import ScoreBook
from shiqbench.stats.intervals import LEAST_EXAMPLES, student
from shiqbench.stats.two_way import pseudo_values
from shiqbench.store.index import EvaluationEntry, read_index

pytestmark = pytest.mark.usefixtures("own_cache")
MEAN = Scores("id", "relative_regret")
SHARE = Scores("id", "valid", share=True)


def entries(results: Path, name: str) -> list[EvaluationEntry]:
    found = [e for e in read_index(results).evaluations.values() if e.cell.algorithm == name]
    return sorted(found, key=lambda e: e.cell.seed or 0)


def scores(*values: float, examples: int = 12, seed: int = 0) -> list[list[float]]:
    """Scores of seeds with these means, on examples of differing difficulty."""
    noise = np.random.default_rng(seed).normal(0, 0.1, examples)
    return [(value + noise - noise.mean()).tolist() for value in values]


def written(results: Path, name: str, rows: Sequence[Sequence[float]], **options: Any) -> list[EvaluationEntry]:
    """A finished evaluation per seed."""
    for seed, row in enumerate(rows):
        evaluation(cell(results, name, seed), row, **options)
    return entries(results, name)


def test_one_seed_has_students_interval_over_its_examples(tmp_path: Path) -> None:
    (row,) = scores(0.3)
    found = over_seeds(written(tmp_path, "dpo", [row]), MEAN, ScoreBook(tmp_path))
    assert (found.value, found.low, found.high) == pytest.approx((0.3, *student(row)))
    assert (found.how, found.df, found.examples) == ("over 12 examples, these weights of 1 seed", 11, 12)


def test_what_trains_nothing_has_no_weights_that_could_be_lucky(tmp_path: Path) -> None:
    assert over_seeds(written(tmp_path, "base", scores(0.3)), MEAN, ScoreBook(tmp_path)).how == "over 12 examples"


def test_two_seeds_are_these_weights_and_three_are_not(tmp_path: Path) -> None:
    book = ScoreBook(tmp_path)
    two = over_seeds(written(tmp_path, "dpo", scores(0.2, 0.4)), MEAN, book)
    three = over_seeds(written(tmp_path, "sft", scores(0.2, 0.3, 0.4)), MEAN, book)
    assert (two.how, three.how) == ("over 12 examples, these weights of 2 seeds", "over 12 examples and 3 seeds")
    assert two.low is not None
    assert three.low is not None
    assert 0.3 - three.low > 0.2 > 0.1 > 0.3 - two.low  # t of two degrees of freedom over three seeds: 0.25


def test_a_regret_is_never_below_zero(tmp_path: Path) -> None:
    rows = [[0.0] * 11 + [value] for value in (0.0, 0.9, 3.0)]
    found = over_seeds(written(tmp_path, "dpo", rows), replace(MEAN, least=0.0), ScoreBook(tmp_path))
    unbounded = over_seeds(entries(tmp_path, "dpo"), MEAN, ScoreBook(tmp_path))
    assert unbounded.low is not None
    assert unbounded.low < 0 == found.low
    assert found.high == unbounded.high


def test_shares_of_noisy_seeds_end_inside_zero_and_one(tmp_path: Path) -> None:
    rows = [[1.0] * 12, [1.0] * 12, [1.0] * 8 + [0.0] * 4]
    found = over_seeds(written(tmp_path, "dpo", rows, metric="valid", higher=True), SHARE, ScoreBook(tmp_path))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high < 1


def test_few_examples_have_no_interval(tmp_path: Path) -> None:
    book, (one, other) = ScoreBook(tmp_path), scores(0.2, 0.3, examples=LEAST_EXAMPLES - 1)
    row, base = written(tmp_path, "dpo", [one] * 3), written(tmp_path, "sft", [other] * 3)
    found, less = over_seeds(row, MEAN, book), against(row, base, MEAN, book)
    assert (found.low, found.high, found.how) == (None, None, "no interval: fewer than 10 examples")
    assert less is not None
    assert (less.estimate.low, less.p, less.better) == (None, None, 9)


def test_equal_seeds_are_not_called_seeds(tmp_path: Path) -> None:
    (row,), book = scores(0.3), ScoreBook(tmp_path)
    found = over_seeds(written(tmp_path, "dpo", [row] * 3), MEAN, book)
    assert found.how == "over 12 examples, 3 seeds gave equal results (as exact training does), so they count as one"
    assert (found.low, found.high) == pytest.approx(student(row))


def test_damaged_records_take_the_interval_away(tmp_path: Path) -> None:
    row = written(tmp_path, "dpo", scores(0.3))
    records = tmp_path / row[0].folder / "records.parquet"
    records.write_bytes(records.read_bytes()[:-1] + b"x")
    found = over_seeds(row, MEAN, ScoreBook(tmp_path))
    assert found.value == pytest.approx(0.3)
    assert found.low is None
    assert "another sha256" in found.how


def test_a_row_and_itself_differ_by_nothing(tmp_path: Path) -> None:
    row = written(tmp_path, "dpo", scores(0.1, 0.2, 0.3))
    found = against(row, row, MEAN, ScoreBook(tmp_path))
    assert found is not None
    assert (found.estimate.value, found.better, found.worse, found.p, found.units) == (0, 0, 0, 1.0, 12)
    assert found.estimate.low == pytest.approx(-found.estimate.high) if found.estimate.high is not None else False


def test_hard_examples_cancel_and_every_seed_counts(tmp_path: Path) -> None:
    """What is hard for both cancels; five seeds are compared with three though only three numbers agree."""
    hard = np.random.default_rng(0).normal(0, 5, 12)
    mine = written(tmp_path, "dpo", [(hard - 1 + d).tolist() for d in (-0.02, 0.0, 0.02)])
    theirs = written(tmp_path, "sft", [(hard + d).tolist() for d in (-0.02, 0.0, 0.02, -0.01, 0.01)])
    found = against(mine, theirs, MEAN, ScoreBook(tmp_path))
    assert found is not None
    assert (found.seeds, found.baseline_seeds, found.units, found.better, found.worse) == (3, 5, 12, 12, 0)
    assert found.estimate.value == pytest.approx(-1)
    assert found.estimate.low == pytest.approx(-1, abs=0.06)
    assert found.estimate.how == "over 12 examples and 3 against 5 seeds"
    assert found.p is not None
    assert found.p < 1e-6


def test_the_difference_of_rows_is_the_difference_of_their_values(tmp_path: Path) -> None:
    mine, theirs = written(tmp_path, "dpo", scores(0.2, 0.3, 0.7)), written(tmp_path, "sft", scores(0.4, 0.1, seed=1))
    book = ScoreBook(tmp_path)
    found = against(mine, theirs, MEAN, book)
    assert found is not None
    assert found.estimate.value == pytest.approx(
        over_seeds(mine, MEAN, book).value - over_seeds(theirs, MEAN, book).value
    )
    assert found.estimate.how == "over 12 examples and 3 seeds, the weights of 2 seeds as they are"


def test_what_trains_nothing_is_compared_with_every_seed(tmp_path: Path) -> None:
    base, dpo = written(tmp_path, "base", [[1.0] * 12]), written(tmp_path, "dpo", scores(0.3, 0.35, 0.4))
    found, turned = (against(*pair, MEAN, ScoreBook(tmp_path)) for pair in ((dpo, base), (base, dpo)))
    assert found is not None
    assert turned is not None
    assert found.estimate.value == pytest.approx(-turned.estimate.value)
    assert (turned.better, turned.worse) == (found.worse, found.better)
    assert turned.p == pytest.approx(found.p)
    assert found.estimate.how == "over 12 examples and 3 seeds"


def test_other_examples_are_not_compared(tmp_path: Path) -> None:
    dpo, dro = written(tmp_path, "dpo", [[0.5]]), written(tmp_path, "dro", [[0.5, 0.6]])
    assert against(dpo, dro, MEAN, ScoreBook(tmp_path)) is None


def test_without_scores_seeds_alone_are_compared(tmp_path: Path) -> None:
    mine, theirs = [0.1, 0.2, 0.3, 0.2], [0.4, 0.45, 0.5]
    rows = written(tmp_path, "dpo", [[v] for v in mine]), written(tmp_path, "sft", [[v] for v in theirs])
    found = against(*rows, None, ScoreBook(tmp_path))
    oracle = stats.ttest_ind(mine, theirs, equal_var=False)
    ends = oracle.confidence_interval()
    assert found is not None
    assert (found.units, found.better) == (None, None)
    assert found.p == pytest.approx(oracle.pvalue)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((ends.low, ends.high))
    few = against(rows[0], rows[1][:2], None, ScoreBook(tmp_path))
    assert few is not None
    assert (few.estimate.low, few.p) == (None, None)
    row = over_seeds(rows[0], None, ScoreBook(tmp_path))
    assert "cautious" in row.how


def test_one_seed_without_scores_has_no_interval_and_says_so(tmp_path: Path) -> None:
    for name in ("dpo", "sft"):
        evaluation(cell(tmp_path, name), [0.1])
    found = against(entries(tmp_path, "dpo"), entries(tmp_path, "sft"), None, ScoreBook(tmp_path))
    assert found is not None
    assert (found.estimate.low, found.p) == (None, None)
    assert "too few different seeds" in found.estimate.how


def test_two_shares_that_never_succeed_have_a_width(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": "valid", "higher": True}
    dpo, sft = (written(tmp_path, name, [[0.0] * 50] * 3, **options) for name in ("dpo", "sft"))
    found = against(dpo, sft, SHARE, ScoreBook(tmp_path))
    assert found is not None
    assert (found.estimate.low, found.estimate.high) == pytest.approx((-0.0547, 0.0547), abs=1e-4)


def test_a_ratio_of_sums_is_scored_so_that_its_mean_is_the_metric(tmp_path: Path) -> None:
    import pandas as pd

    from shiqbench.store.cell import mark_done

    at = evaluation(cell(tmp_path, "dpo"), [0.5])
    rows = pd.DataFrame({"id": ["a", "a", "b", "c"], "right": [1, 2, 0, 9], "all": [2, 2, 4, 9], "stop": list("ooox")})
    rows.to_parquet(at / "records.parquet")
    mark_done(at, list(at.glob("*.*")))
    how = Scores("id", "right", "all", share=True, without={"stop": "x"})
    units = ScoreBook(tmp_path).of(entries(tmp_path, "dpo"), how)
    assert list(units.value.columns) == ["a", "b"]
    assert pseudo_values(units.value.to_numpy(), units.of.to_numpy()).mean() == pytest.approx(3 / 8)
    assert units.per_unit().tolist() == [3 / 4, 0]
