"""The example notebooks: kept without outputs, and executed with warnings as errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

import shiqbench

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
READ, COMPARE, BANDIT = (
    next(p for p in NOTEBOOKS if p.stem == name) for name in ("read_results", "compare_two_cells", "shiq_on_a_bandit")
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def executed(path: Path, folder: Path) -> list[Any]:
    """The outputs of a notebook that runs in a folder."""
    book = read(path)
    strict = nbformat.v4.new_code_cell("import warnings; warnings.simplefilter('error')")  # type: ignore[no-untyped-call]
    book.cells.insert(0, strict)
    # pytest's own limit ends a cell that hangs; a busy machine needs its time to start a kernel, and to end it.
    patient = Config({"KernelManager": {"shutdown_wait_time": 120.0}})
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=None, startup_timeout=300, resources=resources, config=patient).execute()
    return [o for c in book.cells if c.cell_type == "code" for o in c.outputs]


def figures(outputs: list[Any]) -> int:
    return sum("image/png" in o.get("data", {}) for o in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    code = [c for c in read(path).cells if c.cell_type == "code"]
    assert code
    assert not [c for c in code if c.outputs or c.execution_count is not None]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_documentation_names_it(path: Path) -> None:
    pages = (path.parents[1] / "docs").glob("*.md")
    assert any(f"`examples/{path.name}`" in page.read_text() for page in pages)


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_results_folder_in_three_figures(tmp_path: Path) -> None:
    for algo, seed in (("base", 0), ("shiq", 0), ("shiq", 1), ("dpo", 0)):
        shiqbench.run(algo, "mdp", preset="smoke", seed=seed, results=tmp_path / "results")
    outputs = executed(READ, tmp_path)
    assert figures(outputs) == 3
    assert not [o for o in outputs if o.output_type == "stream"]
    assert "dpo" in outputs[-1]["data"]["text/plain"]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_two_cells_example_by_example(tmp_path: Path) -> None:
    outputs = executed(COMPARE, tmp_path)
    assert figures(outputs) == 2
    assert "examples" in outputs[-1]["data"]["text/plain"]


@pytest.mark.slow
def test_shiq_on_a_bandit_ends_at_the_optimum(tmp_path: Path) -> None:
    """What the page states, it asserts itself: the regret, the value, and that the package's loss is the same."""
    outputs = executed(BANDIT, tmp_path)
    assert figures(outputs) == 1
    assert "equal losses and gradients" in outputs[-1]["data"]["text/plain"]
