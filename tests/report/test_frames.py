"""Frames of a results folder: what the tables show, as numbers, and what lies behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import cell, evaluation

from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.report import load, make_report
from shiqbench.report.frames import Frames
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")
LOG = [{"update": u, "tokens": 100 * u, "seconds": 0.5, "relative_regret": 1 / u} for u in (5, 10)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two tasks, a swept beta, checkpoints on validation, and a log of every training."""
    folder = tmp_path / "results"
    spent = {"pass_tokens": {"policy": 1000, "reference": 500}}
    for task in ("mdp", "toys"):
        for of in (cell(folder, "base", task=task), cell(folder, "sft", task=task, log=LOG)):
            evaluation(of, [0.9, 0.8] * 6, task=task)
    evaluation(next((folder / "mdp" / "base").iterdir()), [1.0] * 12, split="validation")
    for beta in (0.1, 0.5):
        for seed in range(3):
            of = cell(folder, "dpo", seed, config={"beta": beta, "steps": [1, 2]}, log=LOG, facts=spent)
            evaluation(of, [0.2, 0.4 + 0.01 * seed] * 6)
            evaluation(of, [0.6] * 12, split="validation", update=5)
            evaluation(of, [0.3] * 12, split="validation")
    return folder


def test_every_documented_column_is_there_and_no_other(results: Path) -> None:
    frames = load(results)
    found = {
        "evaluations": frames.evaluations,
        "unfinished": frames.unfinished,
        "metrics": frames.metrics(),
        "settings": frames.settings(),
        "scores": frames.scores(),
        "training": frames.training(),
        "curve": frames.curve(),
        "differences": frames.differences("base"),
    }
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    for name, frame in found.items():
        text = getattr(Frames, name).__doc__.split("Args:")[0].split("then a column")[0]
        said = set(re.findall(r"``(\w+)``", text))
        assert set(frame.columns) - {"algo.beta"} <= said, name
        (table,) = re.findall(rf"`frames\.{name}\S*` \|.*", page)
        assert set(frame.columns) - {"algo.beta"} == set(re.findall(r"`(\w+)`", table.partition("|")[2])), name


def test_settings_that_differ_are_columns_with_their_types(results: Path) -> None:
    frames = load(results)
    frame = frames.evaluations
    assert [c for c in frame.columns if "." in c] == ["algo.beta"]
    assert frame["algo.beta"].dtype == "float64"
    assert set(frame.loc[frame["algorithm"] == "dpo", "algo.beta"]) == {0.1, 0.5}
    assert frame.loc[frame["algorithm"] == "sft", "algo.beta"].isna().all()
    every = frames.settings()
    of_dpo = every[(every["of"] == "row") & every["id"].isin(frame.loc[frame["algorithm"] == "dpo", "row"])]
    assert of_dpo.loc[of_dpo["key"] == "algo.steps", "value"].tolist() == [[1, 2], [1, 2]]
    assert set(every.loc[(every["of"] == "setting") & (every["key"] == "eval.split"), "value"]) == {"validation"}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], "Int64"),
        ([0.5, 2.0], "float64"),
        ([True, False], "boolean"),
        (["a", "b"], "str"),
        ([[1], [2]], "str"),
    ],
    ids=str,
)
def test_a_setting_keeps_its_type(tmp_path: Path, values: list[Any], dtype: str) -> None:
    for value in values:
        evaluation(cell(tmp_path, "dpo", config={"knob": value}), [0.1])
    evaluation(cell(tmp_path, "base"), [0.5])
    column = load(tmp_path).evaluations["algo.knob"]
    assert column.dtype == dtype
    assert column.isna().sum() == 1


def test_labels_are_those_of_the_tables(results: Path) -> None:
    frame = load(results).evaluations
    shown = {(r.algorithm, r.label) for b in make_report(results).blocks for r in b.rows}
    assert set(zip(frame["algorithm"], frame["differs_in"], strict=True)) == shown
    assert set(frame.loc[frame["algorithm"] == "dpo", "name"]) == {"dpo beta=0.1", "dpo beta=0.5"}


def test_examples_are_counted_and_their_scores_make_the_value(results: Path) -> None:
    frames = load(results)
    frame = frames.evaluations
    assert set(frame.loc[frame["task"] == "mdp", "examples"]) == {12}
    assert frame.loc[frame["task"] == "toys", "examples"].isna().all()  # no plugin names its scores
    scores = frames.scores()
    made = scores.groupby("evaluation")[["value", "of"]].sum()
    values = frame[frame["task"] == "mdp"].set_index("evaluation")["value"]
    assert (made["value"] / made["of"]).to_dict() == pytest.approx(values.to_dict())
    some = frames.scores(frame[(frame["algorithm"] == "sft") & (frame["task"] == "mdp")])
    assert (len(some), set(some["name"]), set(some["left_out"])) == (12, {"sft"}, {""})


def test_an_example_without_a_score_is_there_with_the_reason(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo"), [0.1] * 12, records={"relative_regret": [float("nan"), *[0.1] * 11]})
    frames = load(tmp_path)
    scores = frames.scores()
    assert frames.evaluations["examples"].tolist() == [11]
    assert scores.loc[scores["left_out"] != "", ["example", "left_out"]].to_numpy().tolist() == [
        ["x0", "no finite score"]
    ]
    assert scores["value"].isna().sum() == 1


def test_damaged_records_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    at = evaluation(cell(tmp_path, "dpo"), [0.1] * 12)
    (at / "records.parquet").write_bytes(b"")
    frames = load(tmp_path)
    assert frames.evaluations["examples"].isna().all()
    with pytest.raises(CorruptCellError, match="another sha256"):
        frames.scores()


def test_training_is_what_was_logged(results: Path) -> None:
    frame = load(results).training("relative_regret")
    assert len(frame) == 8 * 2
    frame = frame[frame["algorithm"] == "dpo"]
    last = frame[frame["update"] == 10]
    assert set(last["value"]) == {0.1}
    assert set(last["tokens"]) == {1000}
    assert set(last["train_tokens"]) == {1500.0}
    assert set(last["seconds"]) == {1.0}
    assert set(frame["name"]) == {"dpo beta=0.1", "dpo beta=0.5"}


def test_a_log_that_is_missing_is_a_warning(results: Path) -> None:
    next((results / "mdp" / "dpo").glob("*/train.jsonl")).unlink()
    with pytest.warns(UserWarning, match=r"log of training cannot be used: mdp/dpo/\w+: train.jsonl is missing"):
        frame = load(results).training("relative_regret")
    assert len(frame) == 7 * 2


def test_a_curve_goes_from_the_start_to_the_final_weights(results: Path) -> None:
    frame = load(results).curve()
    assert len(frame) == 6 * 3
    one = frame[frame["cell"] == frame["cell"].iloc[0]]
    assert one["update"].tolist() == [0, 5, 10]
    assert one["value"].tolist() == pytest.approx([1.0, 0.6, 0.3])
    assert one["tokens"].tolist() == [0, 500, 1000]
    assert one["train_tokens"].tolist() == [0, 750, 1500]
    assert one["seconds"].tolist() == [0, 0.5, 1.0]
    assert one["evaluation"].str.contains("/base/").tolist() == [True, False, False]
    assert set(one["algorithm"]) == {"dpo"}
    next((results / "mdp" / "dpo").glob("*/train.jsonl")).unlink()
    assert load(results).curve()["seconds"].isna().sum() == 3


def test_differences_are_those_of_the_table(results: Path) -> None:
    found = load(results).differences("base").set_index("name")
    for block in make_report(results, baseline="base").blocks:
        for row in block.rows:
            if row.difference is None or block.task != "mdp" or block.split:
                continue
            one = found[(found["task"] == "mdp") & found["split"].isna()].loc[row.name]
            e = row.difference.estimate
            assert (one["value"], one["low"], one["high"], one["p"]) == (e.value, e.low, e.high, row.difference.p)
            assert (one["better"], one["examples"]) == (row.difference.better, 12)
    with pytest.raises(ConfigError, match="no finished cell of 'nobody'"):
        load(results).differences("nobody")


def test_a_missing_folder_is_an_error_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such results folder \(.*nowhere\)"):
        load(tmp_path / "nowhere")
    frames = load(tmp_path)
    for frame in (frames.evaluations, frames.metrics(), frames.scores(), frames.training(), frames.curve()):
        assert frame.empty
    assert frames.evaluations.columns.tolist()[0] == "evaluation"
    assert frames.evaluations["seed"].dtype == "Int64"


def test_seeds_of_a_row_can_be_joined(results: Path) -> None:
    frames = load(results)
    both = frames.metrics().merge(frames.evaluations, on="evaluation", suffixes=("", "_of"))
    assert isinstance(both, pd.DataFrame)
    assert len(both) == 2 * len(read_index(results).evaluations)
