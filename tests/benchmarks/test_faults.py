"""A matrix whose whole process group is killed again and again ends as one that nobody disturbed.

``SHIQBENCH_KILLS=30 python -m pytest tests/test_faults.py`` kills more often than the suite does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support import small_matrix, what_counts

KILLS = int(os.environ.get("SHIQBENCH_KILLS", "12"))
MATRIX = small_matrix("base", "sft", "dpo", "copg", "dro", "shiq")


def start(file: Path, results: Path) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-m",
        "shiqbench.commands.app",
        "matrix",
        str(file),
        "--results",
        str(results),
        "--jobs",
        "2",
    ]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_matrix_that_is_killed_at_random_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(MATRIX)
    calm = start(file, tmp_path / "calm")
    started = time.monotonic()
    _, said = calm.communicate(timeout=300)
    assert calm.returncode == 0, said
    longest = time.monotonic() - started
    chance = random.Random(5)
    moments: Counter[str] = Counter()
    while moments.total() < KILLS:
        matrix = start(file, tmp_path / "struck")
        try:
            _, said = matrix.communicate(timeout=chance.uniform(0.3, 0.6 * longest))
        except subprocess.TimeoutExpired:
            os.killpg(matrix.pid, signal.SIGKILL)
            _kill_workers_too(matrix)
            matrix.communicate()
            moments[_moment(tmp_path / "struck")] += 1
        else:
            assert matrix.returncode == 0, said
            assert what_counts(tmp_path / "struck") == what_counts(tmp_path / "calm")
            _forget_some(tmp_path / "struck", chance)
    last = start(file, tmp_path / "struck")
    _, said = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert what_counts(tmp_path / "struck") == what_counts(tmp_path / "calm")
    assert not list((tmp_path / "struck").rglob("error.json"))


def _kill_workers_too(matrix: subprocess.Popen[str]) -> None:
    """Workers have process groups of their own; the kernel takes them along when the matrix dies, or we see it."""
    import psutil

    until = time.monotonic() + 30
    while any(str(matrix.pid) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < until, "a worker outlives its matrix"
        time.sleep(0.1)


def _moment(results: Path) -> str:
    """Where the kill fell, as far as the folder tells."""
    if list(results.rglob(".*.tmp")):
        return "in a write"
    if any((f / "train.jsonl").exists() and not (f / "DONE").exists() for f in results.glob("mdp/*/*")):
        return "in training"
    return "between"


def _forget_some(results: Path, chance: random.Random) -> None:
    """Delete two thirds of the cells, so that there is something to do again."""
    import shutil

    cells = sorted(results.glob("mdp/*/*"))
    for cell in chance.sample(cells, 2 * len(cells) // 3):
        shutil.rmtree(cell)
