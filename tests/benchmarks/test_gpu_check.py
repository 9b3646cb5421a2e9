"""The check of a GPU: it runs on a tiny model without one, and says what it did not measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gpu_check
import pytest

from shiqbench.base.machine import has_gpu

pytestmark = pytest.mark.skipif(has_gpu(), reason="there is a GPU: run benchmarks/gpu_check.py itself")


def table(page: Path) -> list[list[str]]:
    """Cells of every row below the head of the table."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]]


def test_without_a_gpu_every_row_says_that_it_was_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--output", str(page)])
    gpu_check.main()
    found = table(page)
    assert {(row[0], row[1]) for row in found} == {(m, a) for m in ("1B", "8B") for a in gpu_check.ALGORITHMS}
    assert {tuple(row[3:]) for row in found} == {("not measured", "", "")}
    committed = Path(gpu_check.__file__).with_name("RESULTS.md")
    assert [row[:3] for row in table(committed)] == [row[:3] for row in found]


def test_what_fails_is_a_row_too(tmp_path: Path) -> None:
    said = gpu_check.carry_out(gpu_check.Row("tiny", "dpo", "all weights"), tmp_path / "tiny", end=0.0)
    assert said == "not measured: no time left | |"


@pytest.mark.slow
def test_a_tiny_model_is_measured_in_every_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = [gpu_check.__file__, "--models", "tiny", "--minutes", "60", "--output", str(page)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    found = table(page)
    assert [row[1] for row in found] == ["sft", "dpo", "shiq", "dpo"]
    for _, _, _, speed, share, memory in found:
        assert float(speed.replace(",", "")) > 0
        assert share == "-"
        assert float(memory) > 0
