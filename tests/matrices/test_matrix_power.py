"""The dry run says what a matrix can find: from finished cells of the same setting, of another one, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import cell, evaluation
from support import TOY

from shiqbench.base.files import write_json
from shiqbench.commands.app import main
from shiqbench.matrices.plan import make_matrix
from shiqbench.matrices.power import Outlook, outlooks
from shiqbench.report import make_report
from shiqbench.store.cell import mark_done

pytestmark = pytest.mark.usefixtures("own_cache")

MATRIX: dict[str, Any] = {"matrix": {"algorithms": ["sft", "dpo", "shiq"], "tasks": ["mdp"], "seeds": [0, 1, 2]}}


def planned(results: Path, matrix: dict[str, Any] = MATRIX) -> list[Outlook]:
    return outlooks(make_matrix(matrix, results=results, plugins=(TOY,)))


def finished(results: Path, names: tuple[str, ...], seeds: int, *, same: bool = True, examples: int = 20) -> None:
    """Made-up results, under the setting that the matrix plans or another one."""
    rng = np.random.default_rng(0)
    setting = make_matrix(MATRIX, results=results).final.planned[0].plan.setting
    for name in names:
        mine = 0.5 + 0.1 * rng.normal(size=examples)
        for seed in range(seeds):
            scores = mine + 0.05 * rng.normal(size=examples) + 0.02 * rng.normal()
            folder = evaluation(cell(results, name, seed), list(scores))
            if same:
                recipe = json.loads((folder / "config.json").read_text())
                write_json(folder / "config.json", {**{k: recipe[k] for k in ("schema", "train")}, **setting})
                mark_done(folder, list(folder.glob("*.*")))


def test_without_any_result_it_is_unknown(tmp_path: Path) -> None:
    (found,) = planned(tmp_path / "results")
    assert found.smallest is None
    assert found.line() == (
        "mdp: smallest difference that can be found is unknown: "
        "no finished evaluation of this task in the results folder; run one cell first"
    )
    assert not (tmp_path / "results").exists()


def test_it_is_what_the_report_will_say(tmp_path: Path) -> None:
    """Two rows are planned, and have already run: the report's table of the two says the same."""
    finished(tmp_path, ("sft", "dpo"), 3)
    (found,) = planned(tmp_path, {"matrix": {**MATRIX["matrix"], "algorithms": ["sft", "dpo"]}})
    (block,) = make_report(tmp_path, baseline="sft").blocks
    assert found.smallest is not None
    assert block.smallest is not None
    said, shown = found.smallest.worst, block.smallest.worst
    assert replace(said, row=shown.row) == shown
    assert found.source == "estimated from dpo, sft, finished under the same setting"
    assert (said.seeds, said.examples, said.comparisons) == (3, 20, 1)


def test_more_rows_and_other_seeds_are_counted(tmp_path: Path) -> None:
    finished(tmp_path, ("sft", "dpo"), 3)
    (three,) = planned(tmp_path)
    (five,) = planned(tmp_path, {"matrix": {**MATRIX["matrix"], "seeds": [0, 1, 2, 3, 4]}})
    assert three.smallest is not None
    assert five.smallest is not None
    assert three.smallest.worst.comparisons == 2
    assert five.smallest.worst.value < three.smallest.worst.value
    assert "(80 % power, two-sided at 5 % / 2 rows)" in five.line()
    assert "with 5 seeds and 20 examples" in five.line()


def test_another_setting_serves_and_is_said(tmp_path: Path) -> None:
    finished(tmp_path, ("sft", "dpo"), 3, same=False)
    (found,) = planned(tmp_path)
    assert found.smallest is not None
    assert found.line().endswith("estimated from dpo, sft, finished under another setting")


def test_one_row_is_taken_twice_which_is_cautious(tmp_path: Path) -> None:
    finished(tmp_path / "one", ("sft",), 3)
    finished(tmp_path / "two", ("sft", "dpo"), 3)
    (one,), (two,) = planned(tmp_path / "one"), planned(tmp_path / "two")
    assert one.smallest is not None
    assert two.smallest is not None
    assert one.source.endswith("as if the rows shared nothing, which is cautious")
    assert one.smallest.worst.value > 0.8 * two.smallest.worst.value


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_finished_seeds_answer_for_the_planned_ones_of_these_weights(tmp_path: Path, seeds: int) -> None:
    finished(tmp_path, ("sft", "dpo"), seeds)
    (found,) = planned(tmp_path)
    assert found.smallest is not None
    assert found.smallest.worst.seeds == 3
    said = (
        "with 3 seeds and 20 examples, for these weights; the variance of seeds is unknown until 3 seeds have finished"
    )
    assert said in found.line()
    (one,) = planned(tmp_path, {"matrix": {**MATRIX["matrix"], "seeds": [0]}})
    assert "with 1 seed and 20 examples, for these weights; " in one.line()
    assert "unknown until" not in one.line()


@pytest.mark.parametrize("examples", [1, 9])
def test_too_few_examples_are_said(tmp_path: Path, examples: int) -> None:
    finished(tmp_path, ("sft", "dpo"), 3, examples=examples)
    (found,) = planned(tmp_path)
    assert found.smallest is None
    assert "give no variance over examples of relative_regret" in found.line()


def test_rows_that_do_not_vary_tell_nothing(tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        evaluation(cell(tmp_path, name), [0.5] * 20)
    (found,) = planned(tmp_path)
    assert found.line().endswith("is unknown: scores of finished rows of dpo, sft do not vary")


def test_damaged_records_are_said(tmp_path: Path) -> None:
    finished(tmp_path, ("sft", "dpo"), 3)
    broken = next(iter(sorted(tmp_path.rglob("records.parquet"))))
    pd.DataFrame({"id": ["x"], "relative_regret": [0.0]}).to_parquet(broken)
    (found,) = planned(tmp_path)
    assert found.smallest is None
    assert "records.parquet" in found.source


def test_shares_are_said_in_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    turns = rng.integers(1, 8, 50)
    for name in ("sft", "dpo"):
        for seed in range(3):
            right = rng.binomial(turns, 0.3)
            records: dict[str, Any] = {
                "scenario": [f"s{i}" for i in range(50)],
                "right_turns": right,
                "counted_turns": turns,
            }
            value = right.sum() / turns.sum()
            folder = cell(tmp_path, name, seed, task="bfcl_v3")
            evaluation(
                folder,
                [value] * 50,
                task="bfcl_v3",
                metric="turn_accuracy",
                higher=True,
                records={**records, "stop": ["end"] * 50},
            )
    (found,) = planned(
        tmp_path, {"matrix": {"algorithms": ["sft", "dpo"], "tasks": ["bfcl_v3"], "seeds": [0, 1, 2, 3]}}
    )
    assert found.smallest is not None
    assert f"about {100 * found.smallest.worst.value:.2g} points with 4 seeds and 50 examples" in found.line()


def test_the_command_says_it_and_json_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "results", ("sft", "dpo"), 3)
    file = tmp_path / "m.toml"
    file.write_text('[matrix]\nalgorithms = ["sft", "dpo", "shiq"]\ntasks = ["mdp"]\nseeds = [0, 1, 2]\n')
    words = ["matrix", str(file), "--results", str(tmp_path / "results"), "--dry-run"]
    with pytest.raises(SystemExit):
        main(words)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        "mdp: smallest difference that can be found (80 % power, two-sided at 5 % / 2 rows): about 0."
    )
    with pytest.raises(SystemExit):
        main([*words, "--json"])
    (found,) = json.loads(capsys.readouterr().out)["smallest_differences"]
    assert found["task"] == "mdp"
    assert found["smallest_difference"]["power"] == 0.8
    assert found["smallest_difference"]["level"] == 0.025
    with pytest.raises(SystemExit):
        main([*words, "--find", "0.03"])
    assert "examples find 0.030; " in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(SystemExit):
        main([*words, "--find", "0.03", "--json"])
    assert json.loads(capsys.readouterr().out)["smallest_differences"][0]["smallest_difference"]["wished"] == 0.03


def test_find_is_for_dry_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["matrix", str(tmp_path / "m.toml"), "--find", "0.03"])
    assert ended.value.code == 2
    assert "--find needs --dry-run" in capsys.readouterr().err
