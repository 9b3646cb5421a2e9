"""What memory the cells of a matrix take, before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import TOY

from shiqbench.matrices import memory
from shiqbench.matrices.memory import needs
from shiqbench.matrices.plan import MatrixPlan, make_matrix
from shiqbench.running.memory import Room
from shiqbench.store.cell import mark_done

FILE = """
[matrix]
algorithms = ["base", "sft", "shiq"]
tasks = ["toy"]
models = ["{model}"]
seeds = [0, 1]

[tasks.toy.set]
"eval.engine" = "transformers"

[algorithms.shiq.set]
"train.micro_tokens" = 8192
"""


def planned(text: str, tmp_path: Path) -> MatrixPlan:
    file = tmp_path / "matrix.toml"
    file.write_text(text)
    return make_matrix(file, results=tmp_path / "results", plugins=(TOY,))


def test_the_largest_stage_of_what_is_left(tiny_model: Path, tmp_path: Path) -> None:
    plan = planned(FILE.format(model=tiny_model), tmp_path)
    (found,) = needs(plan, 3)
    assert (found.task, found.at_once) == ("toy", 3)
    assert found.stage.text.startswith("train shiq/")
    for p, cells in zip(plan.final.planned, plan.final.cells, strict=True):
        for cell in cells if p.family.request.algo == "shiq" else ():
            for folder in (cell.folder, cell.evaluation):
                folder.mkdir(parents=True)
                mark_done(folder, [])
    (rest,) = needs(plan, 3)
    assert rest.stage.text.startswith("train sft/")
    assert rest.stage.total < found.stage.total


def test_cells_share_the_machine_but_not_a_gpu(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(FILE.format(model=tiny_model), tmp_path)
    (one,) = needs(plan, 1)
    assert len(list(one.lines())) == 1
    size = one.stage.total
    for gpu, at_once, total, notes in ((False, 3, 3 * size, 0), (False, 3, 2 * size, 1), (True, 3, 2 * size, 0)):
        monkeypatch.setattr(memory, "room", lambda t=total, g=gpu: Room("this place", t, g))
        (found,) = needs(plan, at_once)
        _, *rest = found.lines()
        assert len(rest) == notes
        assert all(line.startswith("note: 3 cells at once need about") and "--jobs" in line for line in rest)
    monkeypatch.setattr(memory, "room", lambda: Room("this place", size // 2, gpu=False))
    (found,) = needs(plan, 1)
    assert "a cell needs about" in list(found.lines())[1]


def test_a_task_with_its_own_policy_has_no_estimate(tmp_path: Path) -> None:
    text = '[matrix]\nalgorithms = ["base", "shiq"]\ntasks = ["mdp"]\nseeds = [0]\n'
    assert needs(planned(text, tmp_path), 1) == []
