"""Benchmarks are run by hand; what they print where nothing has been measured is held here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


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
