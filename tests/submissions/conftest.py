"""Cells of the synthetic task, trained for real in a few updates, and their submissions."""

from __future__ import annotations

from pathlib import Path

import pytest
from altered import TRAIN
from support import ask

INSTANCES = 12


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two seeds of shiq, and base."""
    folder = tmp_path_factory.mktemp("cells")
    words: list[str | Path] = [*TRAIN, "--results", folder / "results"]
    words += ["--set", f"task.seeds={INSTANCES}", "--set", "task.horizon=3", "--set", "train.updates=5"]
    for seed in ("0", "1"):
        done = ask(*words, "--seed", seed, env={"SHIQBENCH_CACHE": str(folder / "cache")})
        assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.fixture(scope="session")
def shiq(cells: Path) -> Path:
    """The folder of a trained cell."""
    return min((cells / "mdp" / "shiq").iterdir())


@pytest.fixture(scope="session")
def packed(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a submission of every cell."""
    from shiqbench.submissions.pack import submit

    folder = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIQBENCH_CACHE", str(cells.parent / "cache"))
        for cell in sorted(cells.glob("mdp/*/*")):
            submit(str(cell), folder)
    return folder


@pytest.fixture
def submission(packed: Path, shiq: Path) -> Path:
    """The submission of the trained cell."""
    return packed / f"mdp-shiq-{shiq.name}.shiqbench.zip"
