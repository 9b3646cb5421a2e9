"""Benchmarks are run by hand; what they print where nothing has been measured is held here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shiqbench.matrices.job import JobState, Outcome

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_comparison_names_every_missing_cell(tmp_path: Path) -> None:
    words = [str(BENCHMARKS / "bfcl_comparison.py"), "--table", "--seeds", "0", "1", "2", "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    missing = done.stdout.partition("Missing cells: ")[2]
    assert "the start" in missing
    assert missing.count("seed 0, 1, 2") == 12
    assert not list(tmp_path.iterdir())


def test_the_comparison_on_rated_answers_names_every_missing_cell(tmp_path: Path) -> None:
    rows = [
        {"prompt": str(i), "chosen": "yes", "rejected": "no", "score_chosen": 8, "score_rejected": 2} for i in range(99)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    words = [str(BENCHMARKS / "ultrafeedback_comparison.py"), "--table", "--seeds", "0", "1", "--data", str(data)]
    words += ["--results", str(tmp_path / "results")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    missing = done.stdout.partition("Missing cells: ")[2]
    assert [f"{a}, seed 0, 1" for a in ("sft", "dpo", "copg", "dro", "shiq")] == missing.strip().rstrip(".").split("; ")
    assert not (tmp_path / "results").exists()


def test_the_overhead_of_a_matrix_is_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from matrix_overhead import divide, table

    def cell(name: str, update: float | None) -> Path:
        evaluation = tmp_path / "task" / name / "cell" / "eval" / "one"
        evaluation.mkdir(parents=True)
        seconds = {"engine": 0.5, "generation": 1.0, "finish": 0.0, "total": 1.75}
        (evaluation / "manifest.json").write_text(json.dumps({"seconds": seconds}))
        folder = evaluation.parents[1]
        (folder / "manifest.json").write_text(json.dumps({} if update is None else {"reference": {"seconds": 0.25}}))
        if update is not None:
            (folder / "train.jsonl").write_text(json.dumps({"update": 1, "seconds": update}) + "\n")
        return folder

    cell("start", 3.0)
    spent = {"base": (None, 4.0), "first": (2.0, 12.0), "second": (2.0, 3.25), "third": (2.0, 3.25)}
    outcomes = [
        Outcome(name, JobState.DONE, seconds, 1, {"path": str(cell(name, update))})
        for name, (update, seconds) in spent.items()
    ]
    found = divide(outcomes, tmp_path, 23.0)
    assert (found["cells"], found["training"], found["reference"], found["evaluation"]) == (3, 9.0, 1.0, 5.0)
    assert found["once"] == (4.0 - 1.0) + (12.0 - 3.25) - 4.25
    assert found["overhead"] == 23.0 - 9.0 - 1.0 - 5.0 - 7.5
    assert found["overhead_per_cell_ms"] == 250.0
    assert "250 ms for each cell" in table(found)
