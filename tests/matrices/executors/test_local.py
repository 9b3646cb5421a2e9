"""Real worker processes on this machine: reuse, loss, limits, order, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import TOY
from support_jobs import Memory, by_name, cause, job

import shiqbench
from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.matrices.executors import execute, exit_code, summary
from shiqbench.matrices.job import Job, JobState, Outcome, Resources
from shiqbench.planning.plan import Request

HERE = Path(__file__).parent


def run(jobs: list[Job], **options: object) -> list[Outcome]:
    return execute(jobs, view=Memory(), backoff=0.05, **options)  # type: ignore[arg-type]


def weights(outcome: Outcome) -> str:
    assert outcome.result is not None
    return file_sha256(Path(outcome.result["path"]) / "checkpoint/model.safetensors")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """Run one matrix with every kind of failure, and two jobs that succeed."""
    root = tmp_path_factory.mktemp("mixed")
    results = root / "results"
    jobs = [
        job(results, "well", seed=1),
        job(results, "killed once", "algo.act=die", "algo.at=12", f"algo.once={root / 'killed'}"),
        job(results, "killed always", "algo.act=die", seed=2),
        job(results, "exits", "algo.act=exit", seed=3),
        job(results, "diverges", "algo.act=diverge"),
        job(results, "no disk", "algo.act=disk"),
        job(results, "engine", "algo.act=engine", f"algo.once={root / 'engine'}"),
        job(results, "too long", "algo.act=sleep", minutes=0.2, seed=4),
        job(results, "too large", "algo.act=eat", memory_gb=1.2, seed=5),
        job(results, "well again", seed=6),
    ]
    return results, by_name(run(jobs))


@pytest.mark.slow
def test_every_job_has_the_outcome_that_it_deserves(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    _, outcomes = mixed
    assert {name: (o.state.value, cause(o), o.attempts) for name, o in outcomes.items()} == {
        "well": ("done", None, 1),
        "killed once": ("done", None, 2),
        "killed always": ("failed", "killed", 2),
        "exits": ("failed", "killed", 2),
        "diverges": ("failed", "diverged", 1),
        "no disk": ("failed", "disk_full", 1),
        "engine": ("done", None, 2),
        "too long": ("failed", "time", 1),
        "too large": ("failed", "memory", 1),
        "well again": ("done", None, 1),
    }
    assert list(outcomes) == [
        "well",
        "killed once",
        "killed always",
        "exits",
        "diverges",
        "no disk",
        "engine",
        "too long",
        "too large",
        "well again",
    ]


@pytest.mark.slow
def test_a_job_that_was_killed_continues_bit_for_bit(mixed: tuple[Path, dict[str, Outcome]], tmp_path: Path) -> None:
    _, outcomes = mixed
    killed = outcomes["killed once"]
    assert killed.result is not None
    manifest = json.loads((Path(killed.result["path"]) / "manifest.json").read_text())
    assert manifest["resumed_at_update"] == 10
    (undisturbed,) = run([job(tmp_path, "whole")])
    assert weights(undisturbed) == weights(killed)


@pytest.mark.slow
def test_error_json_lies_in_every_failed_cell(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    results, outcomes = mixed
    found = [json.loads(p.read_text()) for p in results.rglob("error.json")]
    failed = [o.error for o in outcomes.values() if o.error is not None]
    key = json.dumps
    assert sorted(map(key, found)) == sorted(map(key, [{k: e[k] for k in sorted(e)} for e in failed]))
    assert {e["type"] for e in found if e["cause"] == "killed"} == {"WorkerLostError"}
    assert "signal SIGKILL" in str(outcomes["killed always"].error)
    assert "exit status 7" in str(outcomes["exits"].error)


@pytest.mark.slow
def test_the_summary_counts_causes(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    _, outcomes = mixed
    lines = summary(list(outcomes.values()))
    assert lines[0] == "10 jobs: 4 done, 6 failed (2 killed, 1 diverged, 1 disk_full, 1 time, 1 memory)"
    assert len(lines) == 7
    assert exit_code(list(outcomes.values())) == 1


@pytest.mark.slow
def test_the_same_again_starts_nothing_that_is_done(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    results, outcomes = mixed
    (again,) = run([job(results, "well", seed=1)])
    assert (again.state, again.attempts) == (JobState.CACHED, 0)
    done = outcomes["well"].result
    assert done is not None
    assert again.result == done | {"cached": True}


@pytest.mark.slow
def test_one_process_runs_one_job_after_the_other(tmp_path: Path) -> None:
    outcomes = run([job(tmp_path, str(s), seed=s) for s in range(2)])
    assert [o.state for o in outcomes] == [JobState.DONE] * 2
    first_lines = [log.read_text().splitlines()[0] for log in (tmp_path / ".logs").glob("*.log")]
    assert len(first_lines) == 2
    assert len({line.partition(" begins ")[0] for line in first_lines}) == 1


@pytest.mark.slow
def test_a_common_start_is_trained_once_and_everything_is_as_alone(
    tiny_model: Path, tmp_path: Path, own_cache: Path
) -> None:
    def jobs(results: Path) -> list[Job]:
        common = {"model": str(tiny_model), "preset": "started", "plugins": (TOY,), "results": results}
        return [Job(algo, Request(algo, "toy", **common), Resources(cpus=1)) for algo in ("dpo", "shiq", "ipo")]  # type: ignore[arg-type]

    def made(results: Path) -> dict[str, str]:
        kinds = ("model.safetensors", "metrics.json")
        return {str(p.relative_to(results)): file_sha256(p) for p in results.rglob("*") if p.name in kinds}

    together = run(jobs(tmp_path / "together"), at_once=2)
    assert [o.state for o in together] == [JobState.DONE] * 3
    logs = "".join(p.read_text() for p in (tmp_path / "together/.logs").glob("*.log"))
    assert logs.count("train sft/") == 1
    for r in (j.request for j in jobs(tmp_path / "alone")):
        shiqbench.run(r.algo, r.task, model=r.model, preset=r.preset, plugins=r.plugins, results=r.results)
    assert len(made(tmp_path / "together")) == 4 + 5
    assert made(tmp_path / "together") == made(tmp_path / "alone")


@pytest.mark.slow
def test_the_first_failure_stops_the_rest_if_asked_to(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "diverges", "algo.act=diverge"), job(tmp_path, "never", seed=1)]
    outcomes = run(jobs, fail_fast=True)
    assert [(o.state, o.attempts) for o in outcomes] == [(JobState.FAILED, 1), (JobState.STOPPED, 0)]
    assert exit_code(outcomes) == 1


def test_what_can_never_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(ConfigError, match=r"cpus = 1e\+06, but there .*job greedy"):
        run([job(results, "fine"), job(results, "greedy", cpus=1e6)])
    with pytest.raises(ConfigError, match="two jobs are named 'same'"):
        run([job(results, "same"), job(results, "same", seed=1)])
    assert not results.exists()


def start_alone(results: Path, *names: str) -> subprocess.Popen[str]:
    """Start a matrix in its own process; its jobs take some seconds."""
    command = [sys.executable, str(HERE / "matrix_alone.py"), "local", str(results), *names]
    paths = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths})


def wait_for(what: object, seconds: float = 240.0) -> None:
    assert callable(what)
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def trains(results: Path) -> bool:
    return any(p.stat().st_size for p in results.glob("mdp/rogue/*/train.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_what_can_be_continued(tmp_path: Path, number: signal.Signals) -> None:
    matrix = start_alone(tmp_path / "results", "a")
    wait_for(lambda: trains(tmp_path / "results"))
    children = psutil.Process(matrix.pid).children(recursive=True)
    matrix.send_signal(number)
    matrix.communicate(timeout=60)
    assert matrix.returncode == 130
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
    assert not list(tmp_path.rglob("error.json"))
    assert not list(tmp_path.rglob(".holder.json"))
    live = json.loads(next((tmp_path / "results" / ".live").glob("*.json")).read_text())
    assert (live["ended"], live["running"]) == (True, [])


@pytest.mark.slow
def test_a_worker_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    matrix = start_alone(tmp_path / "results", "a")
    wait_for(lambda: trains(tmp_path / "results"))
    children = psutil.Process(matrix.pid).children(recursive=True)
    assert children
    os.kill(matrix.pid, signal.SIGKILL)
    matrix.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.slow
def test_two_matrices_on_one_folder_train_each_cell_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    both = [start_alone(results, "a", "b"), start_alone(results, "a", "b")]
    states = [json.loads(m.communicate(timeout=500)[0]) for m in both]
    assert [m.returncode for m in both] == [0, 0]
    assert {s for each in states for s in each} <= {"done", "cached"}
    assert len(list(results.glob("mdp/rogue/*/DONE"))) == 2
    assert len((tmp_path / "tally").read_text()) == 2 * 20  # updates made by either process
