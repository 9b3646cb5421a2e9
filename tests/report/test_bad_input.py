"""Bad input is said in the report, with row and reason, in every format; it is never a crash."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import cell, evaluation

from shiqbench.base.files import read_json, write_json
from shiqbench.commands.app import main
from shiqbench.plugin.task import Primary
from shiqbench.store.cell import mark_done

pytestmark = pytest.mark.usefixtures("own_cache")
SCORES = [0.1, 0.2, 0.3, 0.4] * 3


def rows(results: Path, *names: str, **options: Any) -> list[Path]:
    return [evaluation(cell(results, name), SCORES, **options) for name in names]


def changed(folder: Path, frame: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the records of a finished evaluation, as an older or foreign version would have written them."""
    path = folder / "records.parquet"
    frame(pd.read_parquet(path)).to_parquet(path)
    mark_done(folder, list(folder.glob("*.*")))


def without_a_column(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    changed(dpo, lambda f: f.drop(columns="relative_regret"))


def without_a_column_in_one_seed(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    evaluation(cell(results, "dpo", 1), SCORES)
    changed(dpo, lambda f: f.rename(columns={"id": "name"}))


def text_for_numbers(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    changed(dpo, lambda f: f.assign(relative_regret="high"))


def no_records_at_all(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    changed(dpo, lambda f: f.iloc[:0])


def repeated_examples_only_in_one_row(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    changed(dpo, lambda f: pd.concat([f, f.assign(id=f.id + "b")]))


def other_examples_in_one_seed(results: Path) -> None:
    rows(results, "sft", "dpo")
    dpo = evaluation(cell(results, "dpo", 1), SCORES)
    changed(dpo, lambda f: f.assign(id=f.id + "b"))


def no_parquet(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    (dpo / "records.parquet").write_bytes(b"not parquet")
    mark_done(dpo, list(dpo.glob("*.*")))


def other_bytes(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    (dpo / "records.parquet").write_bytes(b"PAR1")


def records_are_missing(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    (dpo / "records.parquet").unlink()


def broken_metrics(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    write_json(dpo / "metrics.json", {"metrics": {}})
    mark_done(dpo, list(dpo.glob("*.*")))


def odd_primary(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    write_json(dpo / "metrics.json", {"primary": {"name": "relative_regret"}, "metrics": {}})
    mark_done(dpo, list(dpo.glob("*.*")))


def broken_done(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    (dpo / "DONE").write_text("{")


def a_later_schema(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    write_json(dpo / "config.json", {**read_json(dpo / "config.json"), "schema": 9})
    mark_done(dpo, list(dpo.glob("*.*")))


def settings_of_another_version(results: Path) -> None:
    rows(results, "sft", "dpo", setting={"horizon": 3, "colour": "red"})


def a_metric_is_missing(results: Path) -> None:
    rows(results, "sft", metrics={"kl_to_reference": 0.5})
    rows(results, "dpo")


def another_metric_in_one_row(results: Path) -> None:
    rows(results, "sft")
    records: dict[str, Any] = {"id": [f"x{i}" for i in range(12)], "return": SCORES}
    evaluation(cell(results, "dpo"), SCORES, primary=Primary("return", 0.25, 0.1, 0.4), records=records)


def no_number(results: Path) -> None:
    rows(results, "sft")
    evaluation(cell(results, "dpo"), [math.nan, *SCORES])


def one_algorithm(results: Path) -> None:
    rows(results, "sft")


def one_example(results: Path) -> None:
    for name in ("sft", "dpo"):
        evaluation(
            cell(results, name),
            [0.5],
            primary=Primary("relative_regret", 0.5),
            records={"id": ["x"], "relative_regret": [0.5]},
        )


def no_interval_of_a_task_without_scores(results: Path) -> None:
    for name in ("sft", "dpo"):
        for seed in range(3):
            of = cell(results, name, seed, task="theirs")
            evaluation(of, SCORES, primary=Primary("wins", 0.5), records={"id": ["x"]}, task="theirs")


def a_missing_plugin(results: Path) -> None:
    for name in ("sft", "dpo"):
        evaluation(cell(results, name, task="theirs"), SCORES, task="theirs", metric="wins")


def cells_of_two_schemas(results: Path) -> None:
    _, dpo = rows(results, "sft", "dpo")
    of = dpo.parents[1]
    write_json(of / "config.json", {**read_json(of / "config.json"), "schema": 2})
    mark_done(of, list(of.glob("*.*")))


def another_objective(results: Path) -> None:
    for name, beta in (("sft", 0.1), ("dpo", 0.5)):
        of = cell(results, name, config={"beta": beta}, settings={"beta": 0.5})
        evaluation(of, SCORES)


def a_part_of_the_data(results: Path) -> None:
    spent = {"updates": 10, "tokens": 1000}
    facts = {"data": {"behaviours": {"good": {"used": 60}, "bad": {"used": 34}}}}
    for name, episodes in (("sft", 8), ("dpo", 94)):
        evaluation(cell(results, name, budget={**spent, "episodes": episodes}, facts=facts), SCORES)


def seeds_that_are_equal(results: Path) -> None:
    for name in ("sft", "dpo"):
        for seed in range(3):
            evaluation(cell(results, name, seed, task="theirs"), SCORES, task="theirs", metric="wins")


def a_note_on_one_row(results: Path) -> None:
    rows(results, "sft", metrics={"seeds": 12.0, "seeds_without_gain": 2.0})
    rows(results, "dpo", metrics={"seeds": 12.0, "seeds_without_gain": 0.0})


def metrics_of_another_version(results: Path) -> None:
    for name in ("sft", "dpo"):
        of = cell(results, name, task="ultrafeedback")
        evaluation(of, SCORES, task="ultrafeedback", metric="reward", records={"stop": ["final"] * 12}, higher=True)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (without_a_column, "dpo is not compared with sft: records.parquet has no column relative_regret"),
        (without_a_column_in_one_seed, "dpo is not compared with sft: records.parquet has no column id"),
        (text_for_numbers, "dpo is not compared with sft: its scores in column relative_regret are no numbers"),
        (no_records_at_all, "dpo is not compared with sft"),
        (repeated_examples_only_in_one_row, "dpo is not compared with sft: they share no scored example"),
        (other_examples_in_one_seed, "dpo is not compared with sft: its examples differ from those of mdp/"),
        (no_parquet, "dpo is not compared with sft: records.parquet cannot be read"),
        (other_bytes, "records.parquet has another sha256"),
        (records_are_missing, "records.parquet is missing"),
        (broken_metrics, "its files do not contain a valid result"),
        (odd_primary, "its files do not contain a valid result"),
        (broken_done, "its files do not contain a valid result"),
        (a_later_schema, "it has schema 9, and this version reads up to 2"),
        (settings_of_another_version, "this version of mdp does not accept the recorded settings"),
        (a_metric_is_missing, "no KL to ref (kl_to_reference) in every seed of: dpo"),
        (another_metric_in_one_row, "not compared with sft: it has no row here"),
        (no_number, "NOT FINITE, no result: dpo seed 0"),
        (one_algorithm, "nothing is compared: sft is the only row"),
        (one_example, "no interval: fewer than 10 examples"),
        (no_interval_of_a_task_without_scores, "no interval: the evaluations give none"),
        (a_missing_plugin, "theirs is not installed here"),
        (a_missing_plugin, "--plugin FILE"),
        (cells_of_two_schemas, "cells of different versions of shiqbench, by their schema (1: sft; 2: dpo)"),
        (another_objective, "another objective than the measured one: sft (algo.beta = 0.1, task.beta = 0.5)"),
        (one_algorithm, "log of training cannot be used: sft seed 0: train.jsonl is missing"),
        (a_part_of_the_data, "trained on a part of the data: sft on at most 8 of 94 episodes"),
        (
            seeds_that_are_equal,
            "over examples, 3 seeds gave equal results (as exact training does), so they count as one",
        ),
        (a_note_on_one_row, "they have no relative regret and are in no mean of it (sft)"),
        (metrics_of_another_version, "ultrafeedback has no notes on these metrics"),
    ],
)
def test_it_is_said_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: Callable[[Path], None], said: str
) -> None:
    results = tmp_path / "results"
    made(results)
    for form in ("markdown", "csv", "latex", "json"):
        options = ["--baseline", "sft", "--format", form, "--figures", str(tmp_path / "figures")]
        with pytest.raises(SystemExit) as left:
            main(["report", str(results), *options])
        found = capsys.readouterr()
        assert left.value.code in (0, None), found.err
        assert "Traceback" not in found.out + found.err
        plain = found.out
        for markup, text in (("\\penalty500{}", ""), ("\\_", "_"), ("-{}-", "--"), ("{-}", "-")):  # of LaTeX
            plain = plain.replace(markup, text)
        whole = " ".join(plain.split())
        assert said.lower() in whole.lower(), (form, whole)
        if form == "json":
            json.loads(found.out, parse_constant=lambda word: pytest.fail(word))
        if form == "csv":
            assert len(list(csv.DictReader(io.StringIO(found.out)))) >= 1


@pytest.mark.parametrize("there", [True, False])
def test_without_any_result_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, there: bool
) -> None:
    results = tmp_path / "results"
    if there:
        results.mkdir()
    for form in ("markdown", "csv", "latex", "json"):
        with pytest.raises(SystemExit, match="2"):
            main(["report", str(results), "--format", form])
        found = capsys.readouterr()
        assert found.out == ""
        said = "no finished evaluation" if there else "there is no such results folder"
        assert found.err.startswith(f"error: {said}")
        assert found.err.count("\n") == 1
