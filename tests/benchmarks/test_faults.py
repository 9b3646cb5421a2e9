"""A matrix that is killed at every kind of moment ends as one that was never disturbed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "faults.py"
MOMENTS = ("before the first update", "in training", "checkpoint write", "in evaluation", "record write", "DONE")


@pytest.mark.slow
def test_a_matrix_that_is_killed_at_every_kind_of_moment_ends_as_an_undisturbed_one() -> None:
    words = [sys.executable, str(BENCHMARK), "--kills", str(len(MOMENTS)), "--seed", "5"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("killed ")] == [
        f"killed {moment}: 1" for moment in MOMENTS
    ]
    assert "training equal bit for bit; 0 of " in done.stdout
