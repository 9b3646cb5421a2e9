"""Curves: real mdp cells over training, made-up checkpoints on validation."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import cell, evaluation
from matplotlib.figure import Figure

import shiqbench
from shiqbench.plugin.registry import registry
from shiqbench.plugin.task import Scores
from shiqbench.report import make_report
from shiqbench.report.curve_figures import name_ends
from shiqbench.report.curves import Line, Point, of_checkpoints, of_training
from shiqbench.report.figures import DISTINCT
from shiqbench.report.known import KnownTask
from shiqbench.report.logs import LogBook, read_log
from shiqbench.report.make import compare
from shiqbench.report.scores import ScoreBook
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")


TOYS: dict[str, Any] = {"task": "toys", "metric": "wins"}


def curves_of(results: Path, how: Scores | None = None, axis: str = "updates") -> list[Line]:
    """The lines of the only setting with checkpoints."""
    known = {"toys": KnownTask("toys", scores={"wins": how} if how else {})}
    (found,) = of_checkpoints(read_index(results), known, ScoreBook(results), LogBook(results), axis)
    return found.lines


def logged(seconds: float, updates: int = 10, **values: float) -> list[dict[str, float]]:
    """A log whose updates take this long each and read 100 tokens."""
    return [{"update": u, "tokens": 100.0 * u, "seconds": seconds, **values} for u in range(1, updates + 1)]


def test_a_curve_averages_the_updates_that_all_seeds_have() -> None:
    seeds = [[Point(0, 0, 1.0), Point(5, 50, 0.5), Point(7, 70, 9.0)], [Point(0, 0, 1.0), Point(5, 70, 0.7)]]
    assert Line("dpo", "", seeds).mean() == [(0, 0, 1.0), (5, 60, pytest.approx(0.6))]


def test_bands_are_the_intervals_of_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    toys = {**TOYS, "split": "validation"}
    evaluation(cell(tmp_path, "base", task="toys"), [1.0] * 12, **toys)
    for seed in range(3):
        of = cell(tmp_path, "dpo", seed, task="toys")
        evaluation(of, (0.5 + 0.1 * rng.random(12)).tolist(), update=5, **toys)
        evaluation(of, (0.2 + 0.1 * rng.random(12)).tolist(), **toys)
    how = Scores("id", "wins")
    known = {"toys": KnownTask("toys", scores={"wins": how})}
    report = compare(read_index(tmp_path), known, ScoreBook(tmp_path), registry())
    (curve,) = curves_of(tmp_path, how)
    (row,) = (r for b in report.blocks for r in b.rows if r.algorithm == "dpo")
    assert row.estimate.how == "over 12 examples and 3 seeds"
    assert curve.intervals[10] == pytest.approx((row.estimate.low, row.estimate.high))
    assert curve.intervals[0] == (1.0, 1.0)  # one evaluation of the start, whatever the number of seeds
    assert curve.intervals[5][0] < 0.55 < curve.intervals[5][1]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Two seeds of dpo with checkpoints; the second takes twice as long. Half of its tokens are a reference's."""
    evaluation(cell(tmp_path, "base", task="toys"), [1.0], split="validation", **TOYS)
    facts = {"pass_tokens": {"policy": 1000, "reference": 500}}
    for seed in (0, 1):
        of = cell(tmp_path, "dpo", seed, task="toys", log=logged(2.0 + 2 * seed), facts=facts)
        evaluation(of, [0.2 + seed], split="validation", **TOYS)
        evaluation(of, [0.6], split="validation", update=5, **TOYS)
        evaluation(of, [0.1], **TOYS)  # on the test: not of this curve
    return tmp_path


@pytest.mark.parametrize(
    ("axis", "places", "said"),
    [
        ("updates", [[0, 5, 10]] * 2, "updates"),
        ("tokens", [[0, 750, 1500]] * 2, "tokens of all passes"),
        ("seconds", [[0, 10, 20], [0, 20, 40]], "seconds of training"),
    ],
)
def test_checkpoints_begin_with_the_start_and_end_with_the_final_weights(
    checkpoints: Path, axis: str, places: list[list[float]], said: str
) -> None:
    (curve,) = curves_of(checkpoints, axis=axis)
    assert curve.name == "dpo"
    curves = sorted(curve.seeds, key=lambda points: points[-1].value)
    assert [[(p.update, p.value) for p in c] for c in curves] == [
        [(0, 1.0), (5, 0.6), (10, 0.2)],
        [(0, 1.0), (5, 0.6), (10, 1.2)],
    ]
    assert [[p.x for p in c] for c in curves] == places
    report = make_report(checkpoints, figures=checkpoints / "figures", axis=axis)
    (figure,) = report.figures
    assert figure.name.startswith("curve-toys-")
    for part in ("; 2 seeds", "as in the tables", said):
        assert part in figure.read_text()


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_a_log_that_cannot_be_read_is_named_and_costs_no_table(checkpoints: Path, damage: str) -> None:
    log = sorted((checkpoints / "toys" / "dpo").glob("*/train.jsonl"))[0]
    if damage == "gone":
        log.unlink()
    else:
        log.write_text(log.read_text().replace("2", "3"))
    report = make_report(checkpoints, figures=checkpoints / "figures", axis="seconds")
    (said,) = (n for b in report.blocks for n in b.notes if "log of training" in n)
    assert re.search(rf"dpo seed \d: train.jsonl {'is missing' if damage == 'gone' else 'has another sha256'}", said)
    assert len(report.figures) == 1
    assert report.blocks
    assert make_report(checkpoints, figures=checkpoints / "figures").notes == []  # updates need no log
    shutil.rmtree(checkpoints / "toys" / "dpo")
    assert make_report(checkpoints, figures=checkpoints / "figures", axis="seconds").figures == []


def test_a_log_of_several_instances_is_their_mean(tmp_path: Path) -> None:
    lines = [line for regret in (0.2, 0.6) for line in logged(2.0, 3, regret=regret)]
    evaluation(cell(tmp_path, "dpo", log=lines), [0.4])
    (entry,) = read_index(tmp_path).cells.values()
    log = read_log(tmp_path, entry)
    assert log.updates.tolist() == [1, 2, 3]
    assert log.values["regret"].tolist() == pytest.approx([0.4] * 3)
    assert log.tokens.tolist() == [200, 400, 600]
    assert log.seconds.tolist() == [4, 8, 12]


def test_a_figure_has_as_many_lines_as_can_be_told_apart_and_says_so(tmp_path: Path) -> None:
    for number in range(DISTINCT + 3):
        of = cell(tmp_path, "dpo", config={"beta": number}, task="toys")
        evaluation(of, [0.01 * number], split="validation", **TOYS)
        evaluation(of, [0.5], split="validation", update=5, **TOYS)
    report = make_report(tmp_path, figures=tmp_path / "figures")
    (figure,) = report.figures
    (said,) = (n for n in report.notes if figure.name in n)
    assert f"shows the best {DISTINCT} of {DISTINCT + 3} rows" in said
    assert f"the best {DISTINCT} of {DISTINCT + 3} rows" in figure.read_text()
    assert "beta=0<" in figure.read_text()  # the lowest is best
    assert f"beta={DISTINCT + 2}<" not in figure.read_text()


def test_names_are_at_the_ends_of_their_lines_and_apart() -> None:
    plane = Figure().add_subplot()
    plane.set(xlim=(0, 10), ylim=(0, 1))
    ends = {"low": 0.0, "one": 0.3, "same": 0.3, "near": 0.31, "free": 0.7, "high": 0.99, "top": 1.0}
    name_ends(plane, [*(Point(1, 10, value) for value in ends.values()), None], [*ends, "no number"], 0.1)
    at = {text.get_text(): text.get_position()[1] for text in plane.texts}
    assert sorted(at, key=lambda name: at[name]) == [*ends, "no number"]
    heights = list(at.values())
    assert all(b - a > 0.1 - 1e-9 for a, b in pairwise(heights))
    assert (heights[0], at["free"], heights[-1]) == pytest.approx((0, 0.7, 1))
    assert at["same"] == pytest.approx(np.mean([0.3, 0.3, 0.31]))  # no name moves further than it must


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
    logs = LogBook(tmp_path)
    curves = {c.name: c for c in of_training(report.blocks[0], "relative_regret", logs, "seconds")}
    assert sorted(curves) == ["dpo", "shiq"]
    assert all(0 < a.x < b.x for points in curves["shiq"].seeds for a, b in pairwise(points))
    last = [points[-1].value for points in curves["shiq"].seeds]
    finals = [e.primary["value"] for r in report.blocks[0].rows if r.name == "shiq" for e in r.evaluations]
    assert sorted(last) == pytest.approx(sorted(finals), rel=1e-9, abs=1e-15)
