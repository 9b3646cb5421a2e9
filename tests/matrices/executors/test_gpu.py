"""A matrix on a real GPU: which job sees it, how it is shared, and the same numbers as ``run``."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import TOY
from support_jobs import Memory

import shiqbench
from shiqbench.base.digest import file_sha256
from shiqbench.base.files import read_json
from shiqbench.matrices.executors import execute
from shiqbench.matrices.executors.machine import visible_gpus
from shiqbench.matrices.job import Job, Outcome, Resources
from shiqbench.planning.plan import Request

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.skipif(not visible_gpus(), reason="there is no GPU")]
SMALL = {"train.updates": 4, "train.save_every": 1}


def job(model: Path, results: Path, algo: str, seed: int = 0, **resources: Any) -> Job:
    request = Request(
        algo,
        "toy",
        str(model),
        seed=seed,
        settings=SMALL if algo != "base" else {},
        engine="transformers",
        plugins=(TOY,),
        results=results,
    )
    return Job(f"{algo} {seed}", request, Resources(**{"gpus": 1.0, **resources}))


def finished(jobs: list[Job], at_once: int = 1) -> tuple[dict[str, Outcome], Memory]:
    view = Memory()
    outcomes = {o.name: o for o in execute(jobs, at_once=at_once, view=view, backoff=0.05)}
    assert {o.state.value for o in outcomes.values()} <= {"done", "cached"}, outcomes
    return outcomes, view


def folder(outcome: Outcome) -> Path:
    assert outcome.result is not None
    return Path(outcome.result["path"])


def gpus(outcome: Outcome) -> list[str]:
    found: list[str] = read_json(folder(outcome) / "manifest.json")["hardware"]["gpus"]
    return found


def what_counts(outcome: Outcome) -> tuple[Any, ...]:
    at = folder(outcome)
    lines = [json.loads(line) for line in (at / "train.jsonl").read_text().splitlines()]
    curve = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return file_sha256(at / "checkpoint/model.safetensors"), curve, outcome.result and outcome.result["metrics"]


def test_a_job_sees_its_gpu_and_one_without_sees_none(tiny_model: Path, tmp_path: Path) -> None:
    outcomes, _ = finished([job(tiny_model, tmp_path, "sft"), job(tiny_model, tmp_path, "sft", 1, gpus=0.0)])
    assert len(gpus(outcomes["sft 0"])) == 1
    assert gpus(outcomes["sft 1"]) == []


def test_two_halves_run_together_and_two_wholes_do_not(tiny_model: Path, tmp_path: Path) -> None:
    for share, most in ((0.5, 2), (1.0, 1)):
        jobs = [job(tiny_model, tmp_path / str(share), "shiq", seed, gpus=share) for seed in range(4)]
        _, view = finished(jobs, at_once=2)
        assert max(map(len, view.running)) == most


def test_the_results_are_those_of_run_however_many_share_the_gpu(tiny_model: Path, tmp_path: Path) -> None:
    algorithms = ("sft", "dpo", "shiq")
    shared, _ = finished([job(tiny_model, tmp_path / "a", a, gpus=0.3) for a in algorithms], at_once=3)
    alone, _ = finished([job(tiny_model, tmp_path / "b", a) for a in algorithms])
    for name in shared:
        assert what_counts(shared[name]) == what_counts(alone[name]), name
    done = shiqbench.run(
        "shiq", "toy", model=str(tiny_model), engine="transformers", plugins=(TOY,), results=tmp_path / "c",
        set={"train.updates": 4, "train.save_every": 1},
    )  # fmt: skip
    of_run = Outcome("shiq 0", shared["shiq 0"].state, result=done.as_json())
    assert what_counts(of_run) == what_counts(shared["shiq 0"])


def test_the_reference_is_computed_where_training_is(tiny_model: Path, tmp_path: Path) -> None:
    outcomes, _ = finished([job(tiny_model, tmp_path, "dpo")])
    at = folder(outcomes["dpo 0"])
    assert read_json(at / "manifest.json")["reference"]["device"] == "cuda"
    first = json.loads((at / "train.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_a_tracker_leaves_the_training_on_the_gpu(tiny_model: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "shiqbench",
        "run",
        "--algo",
        "sft",
        "--task",
        "toy",
        "--model",
        str(tiny_model),
    ]
    command += ["--engine", "transformers", "--track", "tensorboard", "--set", "train.updates=2", "--json"]
    command += ["--plugin", str(TOY), "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cell = Path(json.loads(done.stdout)["path"])
    assert list((cell / "tracker").rglob("events.out.tfevents*"))
    facts = read_json(cell / "manifest.json")
    assert facts["peak_gpu_memory_gb"] > 0, facts
