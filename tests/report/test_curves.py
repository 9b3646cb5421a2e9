"""Curves: real mdp cells over training, made-up checkpoints on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation

import shiqbench
from shiqbench.plugin.task import Scores
from shiqbench.report import make_report
from shiqbench.report.curves import Line, _of_checkpoints, _of_training, draw_curves
from shiqbench.report.known import KnownTask
from shiqbench.report.make import compare
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_curve_averages_the_updates_that_all_seeds_have() -> None:
    line = Line("dpo", [[(0, 1.0), (5, 0.5), (7, 9.0)], [(0, 1.0), (5, 0.7)]])
    assert line.mean() == [(0, 1.0), (5, pytest.approx(0.6))]


def test_bands_are_the_intervals_of_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    toys: dict[str, Any] = {"task": "toys", "metric": "wins", "split": "validation"}
    evaluation(cell(tmp_path, "base", task="toys"), [1.0] * 12, **toys)
    for seed in range(3):
        of = cell(tmp_path, "dpo", seed, task="toys")
        evaluation(of, (0.5 + 0.1 * rng.random(12)).tolist(), update=5, **toys)
        evaluation(of, (0.2 + 0.1 * rng.random(12)).tolist(), **toys)
    known = {"toys": KnownTask("toys", scores={"wins": Scores("id", "wins")})}
    report = compare(read_index(tmp_path), known)
    (figure,) = draw_curves(report.index, report.blocks, known, tmp_path / "figures")
    assert "as in the tables" in figure.read_text()
    ((curve,),) = _of_checkpoints(report.index, known).values()
    (row,) = (r for b in report.blocks for r in b.rows if r.algorithm == "dpo")
    assert row.estimate.how == "over 12 examples and 3 seeds"
    assert curve.intervals[10] == pytest.approx((row.estimate.low, row.estimate.high))
    assert curve.intervals[0] == (1.0, 1.0)  # one evaluation of the start, whatever the number of seeds
    assert curve.intervals[5][0] < 0.55 < curve.intervals[5][1]


def test_checkpoints_begin_with_the_start_and_end_with_the_final_weights(tmp_path: Path) -> None:
    toys: dict[str, Any] = {"task": "toys", "metric": "wins"}
    evaluation(cell(tmp_path, "base", task="toys"), [1.0], split="validation", **toys)
    for seed in (0, 1):
        of = cell(tmp_path, "dpo", seed, task="toys")
        evaluation(of, [0.2 + seed], split="validation", **toys)
        evaluation(of, [0.6], split="validation", update=5, **toys)
        evaluation(of, [0.1], **toys)  # on the test: not of this curve
    report = make_report(tmp_path, figures=tmp_path / "figures")
    ((_, curves),) = _of_checkpoints(report.index, {"toys": KnownTask("toys")}).items()
    (curve,) = curves
    assert curve.name == "dpo"
    assert sorted(curve.seeds) == [[(0, 1.0), (5, 0.6), (10, 0.2)], [(0, 1.0), (5, 0.6), (10, 1.2)]]
    (figure,) = report.figures
    assert figure.name.startswith("curve-toys-")
    assert "(2 seeds)" in figure.read_text()


@pytest.mark.slow
def test_the_regret_over_training_is_drawn(tmp_path: Path) -> None:
    for algo, seed in (("shiq", 0), ("shiq", 1), ("dpo", 0), ("base", 0)):
        shiqbench.run(algo, "mdp", preset="smoke", seed=seed, results=tmp_path)
    report = make_report(tmp_path, figures=tmp_path / "figures")
    (figure,) = report.figures
    assert figure.name == f"training-mdp-{report.blocks[0].setting}.svg"
    text = figure.read_text()
    for part in ("relative regret", "shiq (2 seeds)", ">dpo<"):
        assert part in text
    again = make_report(tmp_path, figures=tmp_path / "again").figures[0].read_bytes()
    assert again == figure.read_bytes()
    curves = {c.name: c for c in _of_training(tmp_path, report.blocks[0], "relative_regret")}
    assert sorted(curves) == ["dpo", "shiq"]
    last = [points[-1][1] for points in curves["shiq"].seeds]
    finals = [e.primary["value"] for r in report.blocks[0].rows if r.name == "shiq" for e in r.evaluations]
    assert sorted(last) == pytest.approx(sorted(finals), rel=1e-9, abs=1e-15)
