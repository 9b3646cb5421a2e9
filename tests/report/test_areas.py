"""Areas under learning curves: by hand, over the shared range, and with an interval that covers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation

from shiqbench.plugin.task import Scores
from shiqbench.report.areas import area_table, area_weights
from shiqbench.report.curves import of_checkpoints
from shiqbench.report.known import KnownTask
from shiqbench.report.logs import LogBook
from shiqbench.report.make import make_report
from shiqbench.report.rows import TextTable
from shiqbench.report.scores import ScoreBook
from shiqbench.stats.two_way import interval_of_difference, interval_of_mean
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")
TOYS: dict[str, Any] = {"task": "toys", "metric": "wins", "split": "validation", "higher": True}
HOW = Scores("id", "wins")


def table(
    results: Path, how: Scores | None = HOW, axis: str = "updates", baseline: str | None = None
) -> TextTable | None:
    known = {"toys": KnownTask("toys", scores={"wins": how} if how else {})}
    book = ScoreBook(results)
    (curves,) = of_checkpoints(read_index(results), known, book, LogBook(results), axis)
    return area_table(curves, axis, book, baseline)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (0, 8), (2, 3), (5, 10), (1.5, 9.25)])
def test_weights_are_the_mean_of_straight_lines(low: float, high: float) -> None:
    xs, values = [0, 2, 5, 10], np.array([1.0, 0.2, 0.8, 0.4])
    weights = area_weights(xs, low, high)
    fine = np.linspace(low, high, 20_001)
    assert weights.sum() == pytest.approx(1)
    assert weights @ values == pytest.approx(np.interp(fine, xs, values).mean(), rel=1e-4)


def test_areas_are_those_of_the_examples_over_the_shared_range(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    evaluation(cell(tmp_path, "base", task="toys"), start := rng.random(12).tolist(), **TOYS)
    areas = []
    for seed in range(3):
        of = cell(tmp_path, "shiq", seed, task="toys", budget={"updates": 20, "tokens": 2000})
        middle, end = rng.random(12), rng.random(12)
        evaluation(of, middle.tolist(), update=5, **TOYS)
        evaluation(of, end.tolist(), **TOYS)
        at_ten = middle + (end - middle) / 3  # dpo ends at 10 updates
        areas.append((5 * (np.array(start) + middle) / 2 + 5 * (middle + at_ten) / 2) / 10)
        of = cell(tmp_path, "dpo", seed, task="toys")
        evaluation(of, [0.9] * 12, update=5, **TOYS)
        evaluation(of, [0.9] * 12, **TOYS)
    found = table(tmp_path)
    assert found is not None
    assert found.title.endswith("updates 0 to 10")
    assert found.frame["algorithm"].tolist() == ["dpo", "shiq"]
    by_hand = interval_of_mean(np.stack(areas))
    said = found.frame["mean wins [95 %]"][1]
    assert said == f"{np.mean(areas):.3f} [{by_hand.low:.3f}, {by_hand.high:.3f}]"
    assert found.frame["seeds"].tolist() == ["0-2", "0-2"]
    assert "over 12 examples and 3 seeds" in found.notes[0]


def test_shares_end_inside_zero_and_one(tmp_path: Path) -> None:
    for seed in range(3):
        of = cell(tmp_path, "dpo", seed, task="toys")
        for update, wins in ((5, 11), (None, 12)):
            evaluation(of, [1.0] * wins + [0.0] * (12 - wins), update=update, **TOYS)
    found = table(tmp_path, Scores("id", "wins", share=True))
    assert found is not None
    assert found.frame["mean wins [95 %]"][0].endswith(", 1.000]")


def test_what_has_no_scores_or_no_common_range_has_no_interval(tmp_path: Path) -> None:
    for updates in ((3, 5), (7, 10)):
        of = cell(tmp_path, "dpo", updates[0], task="toys", budget={"updates": 99, "tokens": 1})
        for update in updates:
            evaluation(of, [0.25] * 12, update=update, **TOYS)
        if updates == (3, 5):
            found = table(tmp_path, None)
            assert found is not None
            assert found.frame["mean wins [95 %]"].tolist() == ["0.250"]
            assert "the task names no single scores" in found.notes[0]
    assert table(tmp_path) is None


def test_damaged_records_take_the_interval_away(tmp_path: Path) -> None:
    of = cell(tmp_path, "dpo", task="toys")
    for update in (5, 10):
        at = evaluation(of, [0.25] * 12, update=update, **TOYS)
    (at / "records.parquet").write_bytes(b"")
    found = table(tmp_path)
    assert found is not None
    assert found.frame["mean wins [95 %]"].tolist() == ["0.250"]
    assert "another sha256" in found.notes[0]


def test_every_report_has_them(tmp_path: Path) -> None:
    of = cell(tmp_path, "dpo", task="toys")
    evaluation(of, [0.5], update=5, **TOYS)
    evaluation(of, [0.7], **TOYS)
    (found,) = make_report(tmp_path).curves
    assert found.title == "toys on validation, mean wins over training: area under the curve, updates 5 to 10"
    assert found.frame["mean wins [95 %]"].tolist() == ["0.600"]


def test_intervals_of_areas_cover() -> None:
    """Seeds and examples vary, and persist over the checkpoints; the truth is the mean of the curve."""
    rng, runs, weights = np.random.default_rng(1), 600, area_weights([0, 5, 10], 0, 10)
    means = np.array([0.2, 0.5, 0.6])
    seeds, examples = rng.normal(0, 0.1, (runs, 3, 3, 1)), rng.normal(0, 0.5, (runs, 3, 1, 50))
    shared = rng.normal(0, 0.5, (runs, 1, 1, 50))
    scores = means[:, None, None] + seeds + examples + shared + rng.normal(0, 0.5, (runs, 3, 3, 50))
    areas = np.einsum("p,rpse->rse", weights, scores)
    found, truth = interval_of_mean(areas), float(weights @ means)
    covered = float(((found.low <= truth) & (truth <= found.high)).mean())
    assert 0.92 < covered < 0.985


def test_a_difference_of_areas_is_that_of_the_examples_areas(tmp_path: Path) -> None:
    """Paired: examples differ a hundred times as much as the two rows."""
    rng = np.random.default_rng(3)
    hard = 100 * rng.random(20)
    evaluation(cell(tmp_path, "base", task="toys"), hard.tolist(), **TOYS)
    areas: dict[str, list[Any]] = {"shiq": [], "dpo": []}
    for seed in range(3):
        for name, gain in (("shiq", 1.0), ("dpo", 0.0)):
            of = cell(tmp_path, name, seed, task="toys")
            middle, end = (hard + gain + rng.normal(size=20) / 10 for _ in range(2))
            evaluation(of, middle.tolist(), update=5, **TOYS)
            evaluation(of, end.tolist(), **TOYS)
            areas[name].append((5 * (hard + middle) / 2 + 5 * (middle + end) / 2) / 10)
    found = table(tmp_path, baseline="dpo")
    assert found is not None
    lines = found.frame.set_index("algorithm")["less dpo [95 %]"]
    assert lines["dpo"] == "-"
    by_hand, _ = interval_of_difference(np.stack(areas["shiq"]), np.stack(areas["dpo"]))
    mean = float(np.mean(areas["shiq"]) - np.mean(areas["dpo"]))
    number, low, high = map(float, re.findall(r"-?[\d.]+", lines["shiq"]))
    assert (number, low, high) == pytest.approx((mean, float(by_hand.low), float(by_hand.high)), abs=1e-3)
    assert 0 < low < 0.75 < high + 0.1
    assert "differences are paired by example" in "\n".join(found.notes)


def test_without_a_curve_of_the_baseline_there_is_no_difference(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "base", task="toys"), [0.5] * 12, **TOYS)
    of = cell(tmp_path, "dpo", task="toys")
    evaluation(of, [0.6] * 12, update=5, **TOYS)
    evaluation(of, [0.7] * 12, **TOYS)
    for baseline in ("base", None):
        found = table(tmp_path, baseline=baseline)
        assert found is not None
        assert not [c for c in found.frame.columns if c.startswith("less")]
