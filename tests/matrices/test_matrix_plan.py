"""From a matrix file to cells: merged settings, refused files, and the same digests as `run`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import HERE, TOY

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_json
from shiqbench.matrices.describe import as_json, describe_matrix
from shiqbench.matrices.plan import MatrixPlan, make_matrix
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.running.runner import steps
from shiqbench.store.cell import mark_done


def planned(text: str, tmp_path: Path) -> MatrixPlan:
    file = tmp_path / "matrix.toml"
    file.write_text(text)
    return make_matrix(file, results=tmp_path / "results", plugins=(TOY,))


def refused(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(ConfigError) as found:
        planned(text, tmp_path)
    return found.value.lines()


def settings(plan: MatrixPlan) -> dict[str, dict[str, Any]]:
    return {p.family.name: dict(p.family.request.settings) for p in plan.final.planned}


LEAST = """
[matrix]
algorithms = ["base", "shiq"]
tasks = ["mdp"]
seeds = [0, 1, 2]
"""


def test_the_least_file(tmp_path: Path) -> None:
    plan = planned(LEAST, tmp_path)
    names = [j.name for j in plan.final.jobs]
    assert names == ["mdp base", "mdp shiq seed 0", "mdp shiq seed 1", "mdp shiq seed 2"]
    assert not (tmp_path / "results").exists()


def test_cells_are_those_that_run_would_make(tmp_path: Path) -> None:
    text = LEAST.replace('"mdp"', '"mdp", "toy"') + '[algorithms.shiq.sweep]\n"algo.beta" = [0.5, 0.25]\n'
    plan = planned(text, tmp_path)
    cells = [c for mine in plan.final.cells for c in mine]
    assert len(cells) == 2 * (1 + 2 * 3)
    for cell in cells:
        alone = make_plan(cell.job.request)
        assert (cell.digest, cell.folder) == (alone.cell.digest, alone.cell.folder)
        assert cell.evaluation == alone.eval_folder(alone.cell)
        assert [s.folder for s in steps(cell.job.plan)] == [s.folder for s in steps(alone)]


def test_a_job_needs_no_plan_of_its_own_here_and_takes_none_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = LEAST.replace('["mdp"]', '["toy"]\nalso = ["toy:5"]\neval_every = 2') + "[budget]\nupdates = 4\n"
    jobs = planned(text, tmp_path).final.jobs
    alone = [make_plan(j.request) for j in jobs]

    def refuse(request: Request) -> RunPlan:
        raise AssertionError(request)

    with monkeypatch.context() as patch:
        patch.setattr("shiqbench.matrices.job.make_plan", refuse)
        assert [[s.folder for s in steps(j.plan)] for j in jobs] == [[s.folder for s in steps(p)] for p in alone]
    for job in jobs:
        travelled = pickle.loads(pickle.dumps(job))
        assert travelled == job
        assert travelled.sibling is None
        assert "plan" not in travelled.__dict__
        assert travelled.plan.cell.digest == job.plan.cell.digest


def test_the_more_special_setting_wins(tmp_path: Path) -> None:
    text = """
[matrix]
algorithms = ["sft", "shiq", "dpo"]
tasks = ["toy"]
seeds = [0]
[set]
train.lr = 1e-5
eval.max_tokens = 3
[tasks.toy.set]
"train.lr" = 2e-5
[tasks.toy.budget]
updates = 4
[algorithms.shiq.set]
train.lr = 3e-5
[[override]]
algorithm = "dpo"
task = "toy"
set = {"train.lr" = 4e-5}
[algorithms.dpo.sweep]
"train.lr" = [5e-5]
"""
    found = settings(planned(text, tmp_path))
    assert found["toy sft"] == {"train.lr": 2e-5, "eval.max_tokens": 3, "train.updates": 4}
    assert found["toy shiq"]["train.lr"] == 3e-5
    assert found["toy dpo train.lr=5e-05"]["train.lr"] == 5e-5


def test_what_was_said_for_everybody_is_left_out_where_it_cannot_be(tmp_path: Path) -> None:
    text = LEAST.replace('"mdp"', '"mdp", "toy"') + (
        '[set]\n"train.updates" = 3\n[start]\nalgorithm = "sft"\ntrain.updates = 2\n[sweep]\n"train.lr" = [0.1, 0.2]\n'
    )
    plan = planned(text, tmp_path)
    found = settings(plan)
    assert found["mdp base"] == found["toy base"] == {}
    assert found["mdp shiq train.lr=0.1"] == {"train.updates": 3, "train.lr": 0.1}
    assert found["toy shiq train.lr=0.1"]["start.train"] == {"updates": 2}
    assert list(plan.final.starts().values()) == [6]


def test_an_override_of_one_seed_concerns_that_seed(tmp_path: Path) -> None:
    text = LEAST + '[[override]]\nalgorithm = "shiq"\nseed = 1\nset = {"train.updates" = 7}\n'
    by_seed = {f.seeds: f.request.settings for f in (p.family for p in planned(text, tmp_path).final.planned)}
    assert by_seed == {(0,): {}, (0, 2): {}, (1,): {"train.updates": 7}}


def test_excluded_and_included_cells(tmp_path: Path) -> None:
    text = LEAST + (
        '[sweep]\n"train.lr" = [0.1, 0.2]\n'
        '[[exclude]]\nalgorithm = "shiq"\nseed = 2\n'
        '[[exclude]]\nset = {"train.lr" = 0.2}\n'
        '[[include]]\nalgorithm = "dpo"\ntask = "mdp"\nseed = 9\nset = {"algo.beta" = 0.5}\n'
    )
    names = [j.name for j in planned(text, tmp_path).final.jobs]
    assert names == [
        "mdp base",
        "mdp shiq train.lr=0.1 seed 0",
        "mdp shiq train.lr=0.1 seed 1",
        "mdp dpo algo.beta=0.5 seed 9",
    ]


def test_a_task_may_have_its_own_preset_algorithms_and_seeds(tmp_path: Path) -> None:
    plan = make_matrix(HERE.parent / "examples" / "matrix_cpu.toml", results=tmp_path)
    names = [j.name for j in plan.final.jobs]
    assert len(names) == 1 + 5 * 3 + 4
    assert "bfcl_v3 shiq seed 0" in names
    assert {p.family.request.preset for p in plan.final.planned if p.family.request.task == "bfcl_v3"} == {"smoke"}
    assert list(plan.final.starts().values()) == [3]
    assert plan.final.references() == [2]  # sft needs none


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    keys = refused('[matrix]\nalgorithms = ["base"]\ntasks = ["mdp"]\nsedes = [0]\n[budget]\nupdates = 0\n', tmp_path)
    assert "unknown key 'matrix.sedes', did you mean 'seeds'?" in keys[0]
    assert keys[1].startswith("budget.updates: input should be greater than 0")
    assert all("matrix.toml" in line for line in keys)
    names = refused('[matrix]\nalgorithms = ["shiqq"]\ntasks = ["mpd"]\n[algorithms.dpo]\n[tasks.toy]\n', tmp_path)
    assert [n.partition(" (")[0] for n in names] == [
        "unknown algorithm 'shiqq', did you mean 'shiq'?",
        "unknown task 'mpd', did you mean 'mdp'?",
        "[algorithms.dpo] matches no cell",
        "[tasks.toy] matches no cell",
    ]
    both = refused(
        '[matrix]\nalgorithms = ["shiqq", "dpo"]\ntasks = ["mdp", "mpd"]\n'
        '[set]\n"train.lrr" = 1\n"algo.betta" = 1\n[[exclude]]\nalgorithm = "shiqq"\n',
        tmp_path,
    )
    assert [n.partition(", did")[0].partition(" (")[0] for n in both] == [
        "unknown algorithm 'shiqq'",
        "unknown task 'mpd'",
        "mdp dpo: unknown setting 'algo.betta'",
        "mdp dpo: unknown setting 'train.lrr'",
    ]
    bad = LEAST + '[algorithms.shiq.set]\nalgo.betta = 1\n[set]\n"train.lrr" = 1\n[[exclude]]\nalgorithm = "copg"\n'
    lines = refused(bad, tmp_path)
    assert lines[0].startswith("exclude 1 matches no cell: algorithm = copg")
    assert lines[1].startswith("mdp shiq: unknown setting 'algo.betta', did you mean 'algo.beta'?")
    assert "matrix.toml [algorithms.shiq.set])" in lines[1]
    (line,) = refused(bad.replace("algo.betta = 1", "").partition("[[exclude]]")[0], tmp_path)
    assert line.startswith("mdp shiq: unknown setting 'train.lrr'")
    assert "matrix.toml [set])" in line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[matrix\n", "not TOML: .*line 1"),
        ("", "matrix is missing"),
        ('[matrix]\nalgorithms = ["base", "base"]\ntasks = ["mdp"]\n', "'base' appears twice"),
        (LEAST + "[budget]\nupdates = 1\ntokens = 1\n", "exclude each other"),
        (LEAST + '[[include]]\nalgorithm = "dpo"\n', "include names no algorithm or no task"),
        (LEAST + '[[include]]\nalgorithm = "shiq"\ntask = "mdp"\n', "are the same cell"),
        (LEAST + '[[exclude]]\ntask = "mdp"\n', "no cell is left"),
        (LEAST + '[tasks.mdp]\nalgorithms = ["dpo"]\n', "'dpo' is not in matrix.algorithms"),
        (LEAST.replace('"shiq"]', '"shiq"]\nplugins = ["none.py"]'), "none.py"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        planned(text, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        make_matrix(tmp_path / "none.toml")


def test_comments_and_the_order_of_keys_change_no_cell(tmp_path: Path) -> None:
    one = '[set]\n"train.lr" = 0.1\n"train.updates" = 5\n'
    two = '# a comment\n[set]\n"train.updates" = 5 # another\n"train.lr" = 0.10\n'
    digests = [[c.digest for mine in planned(LEAST + t, tmp_path).final.cells for c in mine] for t in (one, two)]
    assert digests[0] == digests[1]


def finished(folder: Path, evaluation: Path, seconds: float, tokens: int) -> None:
    write_json(folder / "manifest.json", {"seconds": seconds, "budget": {"tokens": tokens, "updates": 1}})
    mark_done(folder, [folder / "manifest.json"])
    write_json(evaluation / "manifest.json", {"seconds": {"total": 10.0}})
    mark_done(evaluation, [evaluation / "manifest.json"])


def test_what_is_there_and_what_the_rest_will_cost(tmp_path: Path) -> None:
    plan = planned(LEAST, tmp_path)
    base, shiq = plan.final.cells
    assert any("time and tokens unknown" in line for line in describe_matrix(plan))
    finished(shiq[0].folder, shiq[0].evaluation, 50.0, 1000)
    shiq[1].folder.mkdir(parents=True)
    lines = describe_matrix(planned(LEAST, tmp_path), at_once=2)
    assert lines[0] == "4 cells: 1 done, 1 partial, 2 missing"
    assert "  mdp shiq: 3 seeds, 1 done, 1 partial, 1 missing" in lines
    # Two seeds of shiq, 60 s each, in parallel; base trains nothing, and no finished cell is similar to it.
    assert (
        "about 60 s and 2e+03 training tokens for 2 cells, estimated from similar cells; unknown for the other 1"
        in lines[-1]
    )
    every = as_json(planned(LEAST, tmp_path))
    assert [c["state"] for c in every["cells"]] == ["missing", "done", "partial", "missing"]
    assert every["estimate_of_cells"] == {"seconds": 120.0, "tokens": 2000.0, "unknown": 1}
    assert base[0].seed is None


def test_unequal_budgets_are_said(tmp_path: Path) -> None:
    text = (
        LEAST.replace('"shiq"]', '"shiq", "dpo"]')
        + "[budget]\nupdates = 20\n[algorithms.dpo.set]\ntrain.updates = 40\n"
    )
    assert "note: unequal budgets on mdp: shiq: 20 updates; dpo: 40 updates" in describe_matrix(planned(text, tmp_path))
    swept = text.partition("[budget]")[0] + '[sweep]\n"train.updates" = [20, 40]\n'
    assert not any("unequal" in line for line in describe_matrix(planned(swept, tmp_path)))
    equal = text.partition("[algorithms")[0]
    assert not any("unequal" in line for line in describe_matrix(planned(equal, tmp_path)))


def test_many_families_are_counted_by_algorithm(tmp_path: Path) -> None:
    text = LEAST + f'[algorithms.shiq.sweep]\n"algo.beta" = {[i / 100 for i in range(1, 51)]}\n'
    lines = describe_matrix(planned(text, tmp_path))
    assert "  mdp shiq: 150 cells, 150 missing" in lines
    assert len(lines) < 10


def test_planning_imports_no_torch() -> None:
    example = HERE.parent / "examples" / "matrix_cpu.toml"
    code = (
        "import sys; from pathlib import Path; from shiqbench.matrices.plan import make_matrix; "
        f"make_matrix(Path({str(example)!r})); sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("gpus", "needs"), [("", (8, 0)), ("0,1", (4, 1))])
def test_a_language_model_takes_what_run_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, needs: tuple[float, float]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr("shiqbench.matrices.executors.machine.cores", lambda: 8)
    text = '[matrix]\nalgorithms = ["sft", "shiq"]\ntasks = ["mdp", "toy"]\n[algorithms.shiq]\nresources.cpus = 3\n'
    found = {
        j.name.removesuffix(" seed 0"): (j.resources.cpus, j.resources.gpus) for j in planned(text, tmp_path).final.jobs
    }
    assert found == {"mdp sft": (1, 0), "mdp shiq": (3, 0), "toy sft": needs, "toy shiq": (3, needs[1])}


def test_data_that_are_not_there_are_named_with_all_other_mistakes(tmp_path: Path) -> None:
    lines = refused(
        """
[matrix]
algorithms = ["base", "shik", "shiq"]
tasks = ["ultrafeedback"]
seeds = [0]
[set]
"task.data" = "nothere.jsonl"
""",
        tmp_path,
    )
    assert len(lines) == 2
    assert "unknown algorithm 'shik', did you mean 'shiq'" in lines[0]
    assert "no data at 'nothere.jsonl'" in lines[1]
