"""The check of one GPU: its rows, what it writes, and one row measured on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import gpu_check
import pytest

from shiqbench.base.machine import bf16_is_slow


def test_every_algorithm_and_every_saving_that_a_model_has_is_a_row() -> None:
    assert [(a, what) for a, what, _ in gpu_check.rows_of("8B")] == [
        *((a, "as in `full`") for a in ("sft", "dpo", "shiq")),
        *(("dpo", what) for what in gpu_check.OFF),
    ]
    assert ("dpo", "base weights in fp32") not in [(a, what) for a, what, _ in gpu_check.rows_of("1B")]


def test_only_its_section_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("# All\n\n## On a GPU\n\nNot measured.\n\n## Further\n\nmore\n")
    monkeypatch.setattr(gpu_check, "RESULTS", page)
    gpu_check.write("\nA table.\n")
    assert page.read_text() == "# All\n\n## On a GPU\n\nA table.\n\n## Further\n\nmore\n"


def test_the_page_of_results_has_the_section() -> None:
    assert gpu_check.HEADING in gpu_check.RESULTS.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sft", "shiq"])
def test_a_row_is_measured(algorithm: str) -> None:
    script = str(Path(gpu_check.__file__))
    changes = {"precision": "fp32", "base_weights": "fp32"} if bf16_is_slow() else {}
    code, text = gpu_check.run(script, "--measure", "tiny", algorithm, json.dumps(changes), seconds=300)
    assert code == 0, text
    found = json.loads(text.splitlines()[-1])
    assert found["tokens_per_second"] > 0
    assert 0 < found["share"] < 1
    assert found["peak_gb"] > 0.1
