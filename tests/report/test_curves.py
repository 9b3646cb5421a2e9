"""Curves: real mdp cells over training, made-up checkpoints on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

import shiqbench
from shiqbench.report import make_report
from shiqbench.report.curves import Line, _of_checkpoints, _of_training

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_curve_averages_the_updates_that_all_seeds_have() -> None:
    updates, means, bands = Line("dpo", [[(0, 1.0), (5, 0.5), (7, 9.0)], [(0, 1.0), (5, 0.7)]]).mean()
    assert updates == [0, 5]
    assert means == [1.0, pytest.approx(0.6)]
    assert bands[0] == (1.0, 1.0)
    assert bands[1][0] < 0.6 < bands[1][1]
    assert Line("dpo", [[(0, 1.0)]]).mean()[2] == []


def test_checkpoints_begin_with_the_start_and_end_with_the_final_weights(tmp_path: Path) -> None:
    toys: dict[str, Any] = {"task": "toys", "metric": "wins"}
    evaluation(cell(tmp_path, "base", task="toys"), [1.0], split="validation", **toys)
    for seed in (0, 1):
        of = cell(tmp_path, "dpo", seed, task="toys")
        evaluation(of, [0.2 + seed], split="validation", **toys)
        evaluation(of, [0.6], split="validation", update=5, **toys)
        evaluation(of, [0.1], **toys)  # on the test: not of this curve
    report = make_report(tmp_path, figures=tmp_path / "figures")
    ((_, curves),) = _of_checkpoints(report.index).items()
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
