"""The example notebook: kept without outputs, and executed on results that were quickly trained."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import shiqbench

NOTEBOOK = Path(__file__).parents[2] / "examples" / "read_results.ipynb"


def test_it_is_kept_without_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [c for c in book.cells if c.cell_type == "code"]
    assert code
    assert not [c for c in code if c.outputs or c.execution_count is not None]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_it_draws_three_figures(tmp_path: Path) -> None:
    for algo, seed in (("base", 0), ("shiq", 0), ("shiq", 1), ("dpo", 0)):
        shiqbench.run(algo, "mdp", preset="smoke", seed=seed, results=tmp_path / "results")
    book = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    first = next(i for i, c in enumerate(book.cells) if c.cell_type == "code")
    strict = nbformat.v4.new_code_cell("import warnings; warnings.simplefilter('error')")  # type: ignore[no-untyped-call]
    book.cells.insert(first, strict)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for c in book.cells if c.cell_type == "code" for o in c.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3
    assert not [o for o in outputs if o.output_type == "stream"]
    assert "dpo" in outputs[-1]["data"]["text/plain"]
