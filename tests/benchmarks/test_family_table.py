"""The table of docs/models.md holds: what the checks say of a family today is what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import FAMILIES, build
from family_table import COLUMNS, NUMBERS, row, rows_of_page

from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.running.model_check import model_findings

QUICK = ("llama-2", "gemma-2", "qwen3", "phi-3", "granite-3", "glm-4-moe")


def test_the_page_has_every_family() -> None:
    assert list(rows_of_page()) == [*FAMILIES, f"{EMBEDDED_MODEL}, real weights"]


@pytest.mark.parametrize(
    "family", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES], ids=str
)
def test_a_row_of_the_page_holds(family: str, tmp_path: Path) -> None:
    page = rows_of_page()[family]
    cells = row(page["family"], model_findings(build(family, tmp_path)))
    assert {c: cells.get(c, "") for c in COLUMNS if c not in NUMBERS} == {
        c: page[c] for c in COLUMNS if c not in NUMBERS
    }
    assert all(float(text or 0) < 1e-4 for c in NUMBERS for text in (cells.get(c, ""), page[c]))
