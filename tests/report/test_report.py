"""The report: what is compared, what is kept apart, what is said beside the numbers, in four formats."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_json
from shiqbench.commands.app import main
from shiqbench.report import load, make_report
from shiqbench.report.formats import render
from shiqbench.report.notes import brief_seeds
from shiqbench.report.tables import block_frame
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two algorithms on mdp with three seeds, and the untrained policy."""
    folder = tmp_path / "results"
    evaluation(cell(folder, "base"), [1.0, 1.0] * 6)
    for seed in range(3):
        evaluation(cell(folder, "dpo", seed), [0.2, 0.4 + 0.01 * seed] * 6)
        evaluation(cell(folder, "shiq", seed), [0.1, 0.02 * seed] * 6)
    return folder


def notes(results: Path, **options: Any) -> str:
    return "\n".join(n for b in make_report(results, **options).blocks for n in b.notes)


def above(results: Path) -> str:
    return "\n".join(line for b in make_report(results).blocks for line in b.above)


def squeezed(table: str) -> str:
    return re.sub(" +", " ", table)


def test_titles_and_the_overview_tell_the_problem_of_each_table(results: Path) -> None:
    evaluation(cell(results, "shiq", 0), [0.5] * 4, setting={"horizon": 9})
    report = make_report(results)
    told = [f"({words})" for words in sorted(b.told for b in report.blocks)]
    assert len(told) == 2
    assert {word.partition("=")[0] for word in told} == {"(horizon"}
    for block in report.blocks:
        assert block.title.endswith(f"setting {block.setting} ({block.told})")
    text = render(report, "markdown")
    assert all(f"| mdp relative_regret ↓ {words}" in squeezed(text) for words in told)


def test_rows_are_recipes_best_first_with_their_seeds(results: Path) -> None:
    (block,) = make_report(results).blocks
    assert [r.name for r in block.rows] == ["shiq", "dpo", "base"]
    assert [r.seeds for r in block.rows] == [[0, 1, 2], [0, 1, 2], []]
    assert block.rows[1].estimate.value == pytest.approx(0.305)
    assert block.title.startswith("mdp, relative_regret (lower is better), exact, setting ")


@pytest.mark.parametrize(
    ("changed", "blocks", "rows"),
    [
        ({"data": {"sha256": "0" * 64}}, 1, 4),
        ({"config": {"beta": 0.5}}, 1, 4),
        ({"model": {"cell": "1" * 64}, "start": "sft/111111111111"}, 1, 4),
        ({"setting": {"horizon": 9}}, 2, 4),
        ({"engine": "vllm 2"}, 2, 4),
        ({"split": "validation"}, 2, 4),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_data_starts_settings_and_engines_are_never_mixed(
    results: Path, changed: dict[str, Any], blocks: int, rows: int
) -> None:
    of_evaluation = {k: v for k, v in changed.items() if k in ("setting", "engine", "split")}
    of_cell = {k: v for k, v in changed.items() if k not in of_evaluation}
    evaluation(cell(results, "dpo", 9, **of_cell), [0.9], **of_evaluation)
    found = make_report(results).blocks
    assert (len(found), sum(len(b.rows) for b in found)) == (blocks, rows)
    assert [9] in [r.seeds for b in found for r in b.rows]
    apart = [r.label or r.start for b in found for r in b.rows if r.seeds == [9]]
    if blocks == 1:
        assert apart[0] not in ("", "some model")


def test_checkpoints_are_no_rows(results: Path) -> None:
    evaluation(next((results / "mdp" / "dpo").iterdir()), [0.0], update=5)
    (block,) = make_report(results).blocks
    assert len(block.rows) == 3


def test_a_baseline_is_compared_row_by_row(results: Path) -> None:
    (block,) = make_report(results, baseline="dpo").blocks
    shiq, dpo, base = block.rows
    assert dpo.difference is None
    assert shiq.difference is not None
    assert shiq.difference.estimate.value == pytest.approx(0.06 - 0.305, abs=1e-9)
    assert (shiq.difference.better, shiq.difference.worse, shiq.difference.seeds) == (12, 0, 3)
    assert base.difference is not None
    assert (base.difference.seeds, base.difference.baseline_seeds) == (1, 3)
    text = squeezed(render(make_report(results, baseline="dpo"), "markdown"))
    assert "less dpo [95 %]" in text
    assert re.search(r"\| 12/0/0 \| 0\.0\d+ \|", text)
    assert "over 12 examples and 3 seeds (df " in text


def test_a_baseline_that_is_not_there(results: Path) -> None:
    with pytest.raises(ConfigError, match=r"no finished cell of 'dbo', did you mean 'dpo'\? \(--baseline\); one of"):
        make_report(results, baseline="dbo")
    for beta in (3, 5):
        evaluation(cell(results, "kto", config={"beta": beta}), [0.3] * 12)
    with pytest.raises(ConfigError) as caught:
        make_report(results, baseline="kto")
    assert caught.value.line() == "2 rows are 'kto' (--baseline); add words of one: 'kto beta=3' or 'kto beta=5'"
    (block,) = make_report(results, baseline="kto beta=3").blocks
    assert [r.name for r in block.rows if r.difference is None] == ["kto beta=3"]
    assert "not compared with kto beta=4: it has no row here" in notes(results, baseline="kto beta=4")
    evaluation(cell(results, "tbrm"), [0.3, 0.3], setting={"horizon": 2})
    assert "not compared with tbrm: it has no row here" in notes(results, baseline="tbrm")
    evaluation(cell(results, "kto", config={"beta": 3}), [0.3, 0.3], setting={"horizon": 2})  # one table can use it
    assert "not compared with kto: it has 2 rows here; add words of one: 'kto beta=" in notes(results, baseline="kto")
    evaluation(cell(results, "dpo", config={"beta": 3}), [0.3] * 12)
    compared = {b.baseline for b in make_report(results, baseline="dpo").blocks}
    assert compared == {"dpo", None}  # the row whose whole name it is


def test_a_start_is_a_row_of_its_own_and_no_baseline_beside_a_continued_one(tmp_path: Path) -> None:
    start = cell(tmp_path, "sft", 0, config={"beta": 1})
    digest = next(iter(read_index(tmp_path).cells.values())).digest
    continued = cell(tmp_path, "sft", 0, model={"cell": digest}, start="sft/x")
    for each in (start, continued, cell(tmp_path, "shiq", 0, model={"cell": digest}, start="sft/x")):
        evaluation(each, [0.3, 0.4])
    (block,) = make_report(tmp_path, baseline="sft").blocks
    assert sorted(r.name for r in block.rows) == ["sft", "sft the start", "shiq"]
    assert [r.name for r in block.rows if r.difference is None] == ["sft"]
    assert not [n for n in block.notes if "not compared" in n]


def test_rows_without_a_common_seed_are_compared_and_lack_seeds(results: Path) -> None:
    evaluation(cell(results, "dro", 8), [0.3, 0.3] * 6)
    (block,) = make_report(results, baseline="dpo").blocks
    (less,) = (r.difference for r in block.rows if r.name == "dro")
    assert less is not None
    assert less.estimate.how == "over 12 examples and 3 seeds, the weights of 1 seed as they are"
    (said,) = re.findall(r"seeds differ: (.*)", notes(results))
    assert sorted(said.split("; ")) == ["dpo lacks 8", "dro lacks 0-2", "shiq lacks 8"]


def test_what_an_interval_is_over_is_said_row_by_row(results: Path) -> None:
    evaluation(cell(results, "dro", 8), [0.3, 0.2] * 6)
    for seed in range(3):
        evaluation(cell(results, "sft", seed), [0.5, 0.7] * 6)
    said = notes(results, baseline="base")
    assert re.search(r"intervals: over 12 examples and 3 seeds \(df [\d.]+ to [\d.]+; shiq, dpo\); ", said)
    assert "over 12 examples, these weights of 1 seed (df 11; dro)" in said
    assert (
        "over 12 examples, 3 seeds gave equal results (as exact training does), so they count as one (df 11; sft)"
        in said
    )
    assert "these weights: the interval says nothing about other seeds; that needs 3 seeds" in said
    assert "p has the same variance, so it is below .05 where the interval leaves out 0" in said
    assert "serves all seeds" not in said


def test_the_luck_of_the_start_is_said(tmp_path: Path) -> None:
    start = cell(tmp_path, "sft", 0, config={"beta": 1})
    digest = next(iter(read_index(tmp_path).cells.values())).digest
    for each in (start, *(cell(tmp_path, "shiq", s, model={"cell": digest}, start="sft/x") for s in range(3))):
        evaluation(each, [0.3, 0.4] * 6)
    assert "all seeds share one training of the start, whose luck no interval holds: shiq" in notes(tmp_path)


def test_reduced_settings_and_unequal_budgets_are_said(results: Path) -> None:
    assert "REDUCED" not in notes(results)
    assert above(results) == ""
    evaluation(cell(results, "dro", budget={"updates": 10, "tokens": 99_000}), [0.3, 0.3])
    evaluation(cell(results, "copg", budget={"updates": 12, "tokens": 990}), [0.3, 0.3], reduced=True)
    said = notes(results)
    assert "UNEQUAL budgets (updates, tokens): " in above(results)
    assert "copg: 12 updates, 990 tokens" in above(results)
    assert "REDUCED setting: smaller or easier than the task's full one, not comparable with it (copg)" in said


@pytest.mark.parametrize(
    ("budget", "passes", "seconds", "unequal"),
    [
        ({"updates": 10, "tokens": 1020}, None, 2.0, None),
        ({"updates": 10, "tokens": 1020}, None, 3.9, None),
        ({"updates": 20, "tokens": 1020}, None, 2.0, "updates"),
        ({"updates": 10, "tokens": 99_000}, None, 2.0, "tokens"),
        ({"updates": 10, "tokens": 1000}, {"policy": 1000, "reference": 1000}, 2.0, "tokens"),
        ({"updates": 10, "tokens": 1000}, {"policy": 1000, "rollouts": 90}, 2.0, None),
        ({"updates": 10, "tokens": 1000}, {"policy": 1000, "rollouts": 190}, 2.0, "tokens"),
        ({"updates": 10, "tokens": 1000}, {"policy": 1000, "mismatched": 0}, 2.0, None),
        ({"updates": 10, "tokens": 1020}, None, 9.0, None),
        ({"updates": 20, "tokens": 2000}, None, 90.0, "updates, tokens"),
    ],
)
def test_budgets_are_compared_in_updates_and_tokens_of_all_passes(
    tmp_path: Path, budget: dict[str, int], passes: dict[str, int] | None, seconds: float, unequal: str | None
) -> None:
    evaluation(cell(tmp_path, "base"), [0.1])
    evaluation(cell(tmp_path, "sft"), [0.1])
    facts = {"seconds": seconds, **({} if passes is None else {"pass_tokens": passes})}
    evaluation(cell(tmp_path, "dpo", budget=budget, facts=facts), [0.1])
    said = re.findall(r"UNEQUAL budgets \((.*?)\): (.*)", above(tmp_path))
    assert [what for what, _ in said] == ([] if unequal is None else [unequal])
    if passes and said:
        assert f"{sum(passes.values()):.3g} tokens (policy 1e+03, {list(passes)[1]}" in said[0][1]


def test_failed_and_partial_cells_are_counted_by_cause(results: Path) -> None:
    for seed, facts in ((5, {"what": "loss nan", "cause": "diverged"}), (6, None), (7, {"what": "x", "cause": "time"})):
        folder = cell(results, "shiq", seed)
        (folder / "DONE").unlink()
        if facts is not None:
            write_json(folder / "error.json", facts)
    said = notes(results)
    assert "NO RESULT: 1 of shiq diverged, 1 of shiq partial, 1 of shiq time" in said
    assert "loss nan" in said


def test_a_task_with_failures_alone_is_told_of(results: Path) -> None:
    folder = cell(results, "dpo", task="bfcl_v3")
    (folder / "DONE").unlink()
    write_json(folder / "error.json", {"what": "no memory", "cause": "out_of_memory"})
    report = make_report(results)
    assert "1 of dpo out_of_memory" in report.notes[0]
    assert report.notes[0] in render(report, "markdown")
    assert "no memory" not in notes(results)


def test_a_damaged_evaluation_is_counted_and_gives_no_number(results: Path) -> None:
    at = next((results / "mdp" / "dpo").glob("*/eval/*"))
    (at / "metrics.json").write_text((at / "metrics.json").read_text().replace("0.3", "0.0"))
    assert "1 of dpo corrupt" in notes(results)
    assert [len(r.seeds) for r in make_report(results).blocks[0].rows if r.name == "dpo"] == [2]


def test_damaged_records_take_an_interval_and_a_comparison_away(results: Path) -> None:
    at = next((results / "mdp" / "dpo").glob("*/eval/*")) / "records.parquet"
    at.write_bytes(at.read_bytes()[:-1] + b"x")
    report = make_report(results, baseline="base")
    (dpo,) = (r for r in report.blocks[0].rows if r.name == "dpo")
    assert (dpo.estimate.low, dpo.difference) == (None, None)
    said = notes(results, baseline="base")
    assert "no interval: records.parquet has another sha256 (dpo)" in said
    assert "dpo is not compared with base: records.parquet has another sha256" in said


def test_an_unknown_task_is_reported_by_what_it_left(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo", task="theirs"), [0.1], task="theirs", metric="wins", higher=True)
    (block,) = make_report(tmp_path).blocks
    assert (block.task, block.metric, block.columns) == ("theirs", "wins", ())
    assert "theirs is not installed here" in "\n".join(block.notes)


def test_nothing_to_report(tmp_path: Path, results: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match=r"no finished evaluation \(.*nothing\); run something first"):
        make_report(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"no task 'mpd' in .*, did you mean 'mdp'\? \(--task\); it has mdp"):
        make_report(results, task="mpd")
    evaluation(cell(tmp_path / "along", "dpo"), [0.1], update=5)
    with pytest.raises(ConfigError, match="no finished evaluation"):
        make_report(tmp_path / "along")


def test_the_overview_has_a_column_per_setting(results: Path) -> None:
    assert "Overview" not in render(make_report(results), "markdown")
    evaluation(cell(results, "dpo", task="toys"), [0.7], task="toys", metric="wins", higher=True)
    text = squeezed(render(make_report(results), "markdown"))
    assert "| algorithm | mdp relative_regret ↓ | toys wins ↑ |" in text
    assert re.search(r"\| dpo \| 0\.305 \[.*?\] \| 0\.700 \[0\.600, 0\.800\] \|", text)


def test_csv_and_json_hold_every_row_in_full(results: Path) -> None:
    report = make_report(results, baseline="base")
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert [r["algorithm"] for r in rows] == ["shiq", "dpo", "base"]
    assert float(rows[1]["value"]) == pytest.approx(0.305, abs=1e-12)
    assert rows[1]["seeds"] == "0-2"
    assert float(rows[1]["difference"]) == pytest.approx(-0.695, abs=1e-12)
    whole = json.loads(render(report, "json"))
    (block,) = whole["blocks"]
    assert [r["value"] for r in block["rows"]] == [float(r["value"]) for r in rows]
    assert [len(r["cells"]) for r in block["rows"]] == [3, 3, 1]
    assert block["rows"][0]["metrics"]["return"] == pytest.approx(1 - 0.06)


def test_a_number_has_one_interval(results: Path) -> None:
    ends = {"relative_regret_low": 0.0, "relative_regret_high": 0.9, "return_low": 0.1, "return_repeats_high": 0.2}
    evaluation(cell(results, "dro", 0), [0.2, 0.4], metrics=ends)
    for row in json.loads(render(make_report(results), "json"))["blocks"][0]["rows"]:
        assert set(row["metrics"]) == {"relative_regret", "return"}
        assert row["metrics"]["relative_regret"] == row["value"]


def test_two_columns_never_have_one_name(results: Path) -> None:
    (block,) = make_report(results, baseline="dpo").blocks
    block.columns = (
        ("return", "p", ".2f"),
        ("return", "updates", ".2f"),
        ("return", "y", ".2f"),
        ("return", "y", ".2f"),
    )
    block.columns += (("x", "not in any row", ".2f"),)
    head = list(block_frame(block).columns)
    assert len(set(head)) == len(head)
    assert {"p (return)", "updates (return)", "y", "y (return)"} < set(head)
    assert "not in any row" not in head


def test_latex_is_booktabs_with_escapes(results: Path) -> None:
    text = render(replace(make_report(results), ledger=None), "latex")
    for part in ("\\toprule", "\\midrule", "\\bottomrule", "relative\\_regret", "{[}95 \\%]", "\\footnotesize"):
        assert part in text
    assert not re.search(r"(?<!\\)_", text.replace("$", ""))
    assert text.count("\\begin{tabular}{@{}") == text.count("\\begin{table}[tb]")


def test_seeds_in_few_words() -> None:
    assert brief_seeds([3, 0, 1, 2, 7]) == "0-3, 7"
    assert brief_seeds([]) == ""


def test_frames_are_tidy(results: Path) -> None:
    evaluation(next((results / "mdp" / "dpo").iterdir()), [0.0], update=5, split="validation")
    (cell(results, "sft") / "DONE").unlink()
    frames = load(results)
    frame = frames.evaluations
    assert len(frame) == 8
    assert frame["row"].nunique() == 3
    assert frame["seed"].isna().sum() == 1
    assert frame.loc[frame["update"].notna(), "split"].tolist() == ["validation"]
    by_algorithm = frame[frame["update"].isna()].groupby("algorithm")["value"].mean()
    assert by_algorithm["dpo"] == pytest.approx(0.305)
    assert frames.unfinished["cause"].tolist() == ["partial"]
    metrics = frames.metrics()
    assert len(metrics) == 16
    assert set(metrics["metric"]) == {"relative_regret", "return"}


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tex"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), "--format", "latex", "--output", str(out)])
    assert ended.value.code == 0
    assert out.read_text() == render(make_report(results), "latex")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), "--format", "latex", "--columns", "2", "--output", str(out)])
    assert ended.value.code == 0
    assert out.read_text() == render(make_report(results), "latex", columns=2)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), "--columns", "2"])
    assert ended.value.code == 2
    assert "--columns needs --format latex" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), "--baseline", "nobody"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results)])
    assert capsys.readouterr().out.startswith("## mdp, relative_regret")


def test_frames_are_an_attribute_of_the_package() -> None:
    code = "import shiqbench; print(shiqbench.report.load.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "load\n"
