"""Whether rows trained: planted logs of a cell that did not train, of one that moved enough, and real exact cells."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

import shiqbench
from shiqbench.commands.app import main
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.report import make_report
from shiqbench.report.formats import render
from shiqbench.report.rows import TextTable

pytestmark = pytest.mark.usefixtures("own_cache")
TITLE = "Training: "
BETA = 0.1


def log(moved: float, *, norm: float = 0.5, updates: int = 8, beta: float = BETA) -> list[dict[str, float]]:
    """A log whose advantages have size .3, so that 3 nats are asked for; the last quarter moved a share of them."""
    lines = []
    for u in range(1, updates + 1):
        share = moved if u > updates * 3 // 4 else 0.0
        movement = {"logratio": -share, "logratio_advantage": share * 0.3**2 / beta, "advantage_square": 0.3**2}
        spent = {"tokens": 100.0 * u, "seconds": 1.0}
        lines.append(
            {"update": u, "loss": 2.0 - u / 8, "grad_norm": norm * (1 + u % 2), "lr": 1e-3, **movement, **spent}
        )
    return lines


def planted(results: Path, name: str, lines: list[dict[str, float]], seed: int = 0, **made: Any) -> None:
    recipe = make_plan(
        Request(name, "mdp", settings={"algo.beta": BETA} if name in {"shiq", "copg"} else {})
    ).cell.recipe
    config = recipe["algorithm"]["config"]
    evaluation(cell(results, name, seed, config=config, train={"clip": 0.8}, log=lines, **made), [0.5] * 12)


def table(results: Path) -> TextTable:
    (found,) = [t for t in make_report(results, training=True).training if t.title.startswith(TITLE)]
    return found


def by_row(found: TextTable) -> dict[str, defaultdict[Any, str]]:
    """The lines by their row; a column in which no row has anything is not in the table."""
    lines = found.frame.to_dict("records")
    return {line["algorithm"]: defaultdict(lambda: "-", line) for line in lines}


def test_what_did_not_train_is_told_from_what_moved_enough(tmp_path: Path) -> None:
    planted(tmp_path, "shiq", log(0.02))
    planted(tmp_path, "copg", log(0.9, norm=0.1))
    found = table(tmp_path)
    shiq, copg = by_row(found)["shiq"], by_row(found)["copg"]
    assert (shiq["asked nats"], shiq["moved nats"], shiq["moved"]) == ("3", "0.06", "2%")
    assert (copg["asked nats"], copg["moved nats"], copg["moved"]) == ("3", "2.7", "90%")
    assert (shiq["log-ratio"], copg["log-ratio"]) == ("-0.02", "-0.9")
    assert (shiq["gradient norm"], shiq["clipped"]) == ("0.75", "50%")
    assert (copg["gradient norm"], copg["clipped"]) == ("0.15", "0%")
    assert (shiq["loss, first"], shiq["loss, last"]) == ("1.81", "1.06")
    assert "moved less than 10% of what was asked, too little to judge by: shiq (2%)" in found.notes
    assert sum("too little" in note for note in found.notes) == 1


def test_a_row_that_moved_the_wrong_way_is_named_too(tmp_path: Path) -> None:
    planted(tmp_path, "shiq", log(-0.5))
    assert "moved less than 10% of what was asked, too little to judge by: shiq (-50%)" in table(tmp_path).notes


def test_seeds_are_averaged(tmp_path: Path) -> None:
    planted(tmp_path, "shiq", log(0.02), 0)
    planted(tmp_path, "shiq", log(0.5), 1)
    shiq = by_row(table(tmp_path))["shiq"]
    assert (shiq["seeds"], shiq["moved"]) == ("2", "26%")


def test_what_is_not_known_is_a_dash_and_names_nobody(tmp_path: Path) -> None:
    bare = [{k: v for k, v in line.items() if "logratio" not in k and "advantage" not in k} for line in log(0)]
    equal = [{**line, "advantage_square": 0.0, "logratio_advantage": 0.0} for line in log(0)]
    planted(tmp_path, "sft", bare)  # no reference
    planted(tmp_path, "dpo", log(0.9))  # claims no optimum of this objective
    planted(tmp_path, "shiq", equal)  # all returns of each group are equal
    evaluation(cell(tmp_path, "theirs", log=log(0.01)), [0.5] * 12)  # not installed
    found = table(tmp_path)
    rows = by_row(found)
    assert [rows["sft"][c] for c in ("asked nats", "moved nats", "moved", "log-ratio")] == ["-"] * 4
    assert [rows["dpo"][c] for c in ("asked nats", "moved nats", "moved")] == ["-", "2.7", "-"]
    assert [rows["shiq"][c] for c in ("asked nats", "moved nats", "moved")] == ["-", "-", "-"]
    assert [rows["theirs"][c] for c in ("clipped", "asked nats", "moved")] == ["-", "-", "-"]
    assert not any("too little" in note for note in found.notes)


def test_the_table_is_there_only_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(tmp_path, "shiq", log(0.02))
    assert TITLE not in render(make_report(tmp_path), "markdown")
    tables = json.loads(render(make_report(tmp_path, training=True), "json"))["tables"]
    assert any(t["title"].startswith(TITLE) for t in tables)
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path), "--training"])
    assert TITLE in capsys.readouterr().out


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    planted(tmp_path, "shiq", [])
    report = make_report(tmp_path, training=True)
    assert by_row(report.training[0])["shiq"]["gradient norm"] == "-"
    assert any("log of training cannot be used: shiq seed 0" in note for b in report.blocks for note in b.notes)


def test_real_cells_move_what_is_asked_with_time_and_not_without(tmp_path: Path) -> None:
    exact = {"task.mdp": "tree", "task.seeds": 2, "train.log_every": 1, "task.beta": 0.5, "algo.beta": 0.5}
    for updates in (1, 200):
        shiqbench.run("shiq", "mdp", set={**exact, "train.updates": updates}, results=tmp_path)
    shares = {name: float(r["moved"].rstrip("%")) for name, r in by_row(table(tmp_path)).items()}
    assert sorted(shares.values()) == pytest.approx([0, 100], abs=10)
