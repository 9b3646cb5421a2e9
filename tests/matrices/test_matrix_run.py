"""A matrix runs on real MDPs: once, again, with another seed, tuned, and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shiqbench_tasks.mdp.config import MdpConfig
from support import TOY, ask

import shiqbench
from shiqbench.base.digest import canonical_json
from shiqbench.base.errors import ConfigError, RunError
from shiqbench.matrices.families import Choice
from shiqbench.matrices.job import JobState, Outcome
from shiqbench.matrices.plan import MatrixPlan, make_matrix
from shiqbench.matrices.run import carry_out
from shiqbench.plugin.config import TaskConfig
from shiqbench.store.tuned import read_tuned

SMALL: dict[str, Any] = {
    "matrix": {"algorithms": ["base", "shiq"], "tasks": ["mdp"], "seeds": [0], "preset": "smoke"},
    "budget": {"updates": 5},
}


def states(outcomes: list[Outcome]) -> list[str]:
    return [str(o.state) for o in outcomes]


@pytest.mark.slow
def test_once_then_nothing_then_only_the_new_seed(tmp_path: Path) -> None:
    assert states(shiqbench.matrix(SMALL, results=tmp_path).outcomes) == ["done", "done"]
    assert states(shiqbench.matrix(SMALL, results=tmp_path).outcomes) == ["cached", "cached"]
    more = {**SMALL, "matrix": {**SMALL["matrix"], "seeds": [0, 1]}}
    assert states(shiqbench.matrix(more, results=tmp_path).outcomes) == ["cached", "cached", "done"]


@pytest.mark.slow
def test_the_command_runs_says_and_does_nothing_the_second_time(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(
        '[matrix]\nalgorithms = ["base", "shiq"]\ntasks = ["mdp"]\npreset = "smoke"\n[budget]\nupdates = 5\n'
    )
    words: list[str | Path] = ["matrix", file, "--results", tmp_path / "r"]
    dry = ask(*words, "--dry-run")
    assert "2 cells: 0 done, 0 partial, 2 missing" in dry.stdout
    assert not (tmp_path / "r").exists()
    first = ask(*words)
    assert first.stdout == f"2 jobs: 2 done\nnext: shiqbench report {tmp_path / 'r'} --baseline base\n"
    with_plugin = ask(*words, "--plugin", TOY)
    assert with_plugin.stdout.endswith(f" --baseline base --plugin {TOY}\n")
    again = ask(*words, "--json")
    assert [c["state"] for c in json.loads(again.stdout)["cells"]] == ["cached", "cached"]


def pretending(values: list[float]) -> Any:
    """Return an executor that writes evaluations with these primary values and trains nothing."""

    def run(jobs: Any) -> list[Outcome]:
        from shiqbench.base.files import write_json
        from shiqbench.planning.make import make_plan

        outcomes: list[Outcome] = []
        for job in jobs:
            plan = make_plan(job.request)
            value = values[len(outcomes) % len(values)]
            primary = {"name": "regret", "value": value, "low": 0, "high": 1, "higher_is_better": False}
            write_json(plan.eval_folder(plan.cell) / "metrics.json", {"primary": primary, "metrics": {}})
            outcomes.append(Outcome(job.name, JobState.DONE))
        return outcomes

    return run


OF_DPO = {"dpo": {"sweep": {"algo.beta": [0.5]}, "tuning": {"algo.beta": [0.1, 0.2, 0.3]}}}


def toy_grid(tmp_path: Path, **more: Any) -> Any:
    from support import TOY

    matrix = {"algorithms": ["sft", "dpo"], "tasks": ["toy"], "seeds": [0, 1]}
    file = {
        "matrix": matrix,
        "tuning": {"trials": 2},
        "algorithms": {"dpo": {"tuning": {"algo.beta": [0.1, 0.2, 0.3]}}},
        **more,
    }
    return make_matrix(file, results=tmp_path, plugins=(TOY,))


def test_the_best_trial_on_validation_is_run_with_every_seed(tmp_path: Path) -> None:
    plan = toy_grid(tmp_path)
    assert plan.untuned == ("sft",)
    requests = [j.request for j in plan.trial_stage.jobs]
    assert len(requests) == 2
    assert all(r.settings["eval.split"] == "validation" for r in requests)
    said: list[str] = []
    result = carry_out(plan, pretending([0.9, 0.2]), said.append)
    assert [o.name for o in result.trials] == [j.name for j in plan.trial_stage.jobs]
    chosen = {"algo.beta": requests[1].settings["algo.beta"]}
    assert said == [f"tuned dpo on toy: algo.beta = {chosen['algo.beta']}"]
    (written,) = (tmp_path / "tuned").glob("*.json")
    kept = json.loads(written.read_text())
    assert [t["primary"]["value"] for t in kept["trials"]] == [0.9, 0.2]
    assert kept["chosen"] == chosen
    final = plan.final_stage({Choice("dpo", "toy", None): kept["chosen"]})
    of_dpo = [j.request for j in final.jobs if j.request.algo == "dpo"]
    assert [r.seed for r in of_dpo] == [0, 1]
    assert all(r.settings == chosen for r in of_dpo)


def test_trials_that_failed_choose_nothing(tmp_path: Path) -> None:
    plan = toy_grid(tmp_path)

    def failing(jobs: Any) -> list[Outcome]:
        return [Outcome(j.name, JobState.FAILED, error={"what": "no luck"}) for j in jobs]

    with pytest.raises(RunError, match=r"2 of 2 trials failed, .*no luck"):
        carry_out(plan, failing, print)
    assert not (tmp_path / "tuned").exists()


def test_a_grid_that_is_too_small_or_swept_too_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the grid of dpo has 3 combinations, tuning\.trials is 4"):
        toy_grid(tmp_path, tuning={"trials": 4})
    with pytest.raises(ConfigError, match=r"both swept and tuned"):
        toy_grid(tmp_path, algorithms=OF_DPO)


def swept_mdp(tmp_path: Path, **more: Any) -> MatrixPlan:
    """Two algorithms on mdp with final and with dense reward, the same trials for each."""
    file = {
        "matrix": {"algorithms": ["base", "dpo", "shiq"], "tasks": ["mdp"], "seeds": [0, 1], "preset": "smoke"},
        "tasks": {"mdp": {"sweep": {"task.reward": ["sparse", "dense"]}}},
        "tuning": {"trials": 2, "grid": {"train.lr": [0.01, 0.1]}},
        **more,
    }
    return make_matrix(file, results=tmp_path)


def test_each_swept_value_of_the_task_has_trials_and_a_choice_of_its_own(tmp_path: Path) -> None:
    plan = swept_mdp(tmp_path)
    requests = [j.request for j in plan.trial_stage.jobs]
    tried = [(r.algo, r.settings["task.reward"], r.settings["train.lr"]) for r in requests]
    every = {(a, r, lr) for a in ("dpo", "shiq") for r in ("sparse", "dense") for lr in (0.01, 0.1)}
    assert len(tried) == len(every)
    assert set(tried) == every
    values = {("sparse", 0.1): 0.2, ("sparse", 0.01): 0.9, ("dense", 0.1): 0.9, ("dense", 0.01): 0.2}
    said: list[str] = []
    result = carry_out(plan, pretending([values[r, lr] for _, r, lr in tried]), said.append)
    assert "tuned dpo on mdp, task.reward = sparse: train.lr = 0.1" in said
    assert "tuned dpo on mdp, task.reward = dense: train.lr = 0.01" in said
    assert len(said) == 4
    assert len(result.cells) == 2 + 2 * 2 * 2
    choices, _ = read_tuned(tmp_path)
    assert {(t.under["task.reward"], t.chosen["train.lr"]) for t in choices} == {("sparse", 0.1), ("dense", 0.01)}
    chosen = {Choice(t.algorithm, t.task, t.model, canonical_json(t.under)): dict(t.chosen) for t in choices}
    final = [j.request.settings for j in plan.final_stage(chosen).jobs if j.request.algo != "base"]
    assert {(s["task.reward"], s["train.lr"]) for s in final} == {("sparse", 0.1), ("dense", 0.01)}


def test_a_swept_value_whose_cells_are_excluded_has_no_trials(tmp_path: Path) -> None:
    plan = swept_mdp(tmp_path, exclude=[{"algorithm": "dpo", "set": {"task.reward": "dense"}}])
    tried = {(j.request.algo, j.request.settings["task.reward"]) for j in plan.trial_stage.jobs}
    assert tried == {("dpo", "sparse"), ("shiq", "sparse"), ("shiq", "dense")}


def test_other_sweeps_share_the_trials(tmp_path: Path) -> None:
    plan = swept_mdp(
        tmp_path,
        tasks={},
        sweep={"algo.beta": [0.1, 0.5]},
        matrix={"algorithms": ["dpo"], "tasks": ["mdp"], "preset": "smoke"},
    )
    assert len(plan.trial_stage.jobs) == 2
    assert len(plan.final.jobs) == 2


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"tuning": {"trials": 2, "grid": {"task.instances": ["test", "validation"]}}},
            r"task\.instances cannot be tuned: every trial on mdp has task\.instances = 'validation' \(the matrix\)",
        ),
        (
            {"tasks": {"mdp": {"sweep": {"task.instances": ["test", "validation"]}}}},
            r"task\.instances cannot be swept under \[tuning\]: every trial on mdp",
        ),
        ({"sweep": {"train.lr": [0.1, 0.2]}}, r"train\.lr is both swept and tuned for dpo"),
    ],
)
def test_what_tuning_cannot_choose_is_refused_before_any_trial(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        swept_mdp(tmp_path, **more)


@pytest.mark.slow
def test_each_row_of_a_swept_task_counts_its_own_trials(tmp_path: Path) -> None:
    file = {
        "matrix": {"algorithms": ["dpo"], "tasks": ["mdp"], "preset": "smoke"},
        "budget": {"updates": 2},
        "tasks": {"mdp": {"sweep": {"task.reward": ["sparse", "dense"]}}},
        "tuning": {"trials": 2, "grid": {"train.lr": [0.01, 0.1]}},
    }
    shiqbench.matrix(file, results=tmp_path)
    ledger = shiqbench.report.load(tmp_path).ledger()
    final = ledger[(ledger["algorithm"] == "dpo") & ~ledger["is_trial"]]
    assert final["tuning_trials"].tolist() == [2, 2]


@pytest.mark.slow
def test_a_task_that_is_exact_is_tuned_on_other_instances(tmp_path: Path) -> None:
    """The trials see none of the instances that the report is about."""
    file = {
        "matrix": {"algorithms": ["sft", "dpo"], "tasks": ["mdp"], "seeds": [0, 1], "preset": "smoke"},
        "budget": {"updates": 2},
        "tuning": {"trials": 2},
        "algorithms": {"dpo": {"tuning": {"train.lr": [0.01, 0.1]}}},
    }
    shiqbench.matrix(file, results=tmp_path)
    frames = shiqbench.report.load(tmp_path)
    ledger = frames.ledger()
    of_dpo = ledger[(ledger["algorithm"] == "dpo") & ~ledger["is_trial"]]
    assert of_dpo["tuning_trials"].tolist() == [2, 2]
    assert set(of_dpo["hyper_parameters"]) <= {"tuned: lr=0.01", "tuned: lr=0.1"}
    test, trials = shiqbench.report.make_report(tmp_path).blocks
    assert (test.trials, trials.trials) == (False, True)
    assert test.withheld.startswith("tuning")
    seen = [
        set(pd.read_parquet(tmp_path / b.rows[0].evaluations[0].folder / "records.parquet")["id"])
        for b in (test, trials)
    ]
    assert seen[0] & seen[1] == set()


def test_a_task_without_validation_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MdpConfig, "validation", TaskConfig.validation)
    file = {**SMALL, "tuning": {"trials": 2, "grid": {"train.lr": [0.1, 0.2]}}}
    with pytest.raises(
        ConfigError, match=r"mdp has no validation to tune on: .* no setting eval\.split \(.*\); run mdp"
    ):
        make_matrix(file, results=tmp_path)
