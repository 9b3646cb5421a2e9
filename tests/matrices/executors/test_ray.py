"""A real Ray cluster of two nodes: same results as local, a lost node, a node without the results folder."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_jobs import Memory, by_name, cause, job

from shiqbench.base.errors import ConfigError
from shiqbench.matrices.executors import execute
from shiqbench.matrices.job import Job, JobState, Outcome

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SLOW = "algo.pace=0.1"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start two nodes of one core each, which can import the modules of the tests."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.other = found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def four(results: Path) -> list[Job]:
    return [job(results, f"job {seed}", SLOW, seed=seed) for seed in range(4)]


def files(results: Path) -> dict[str, bytes]:
    """Return the files that must not depend on the machine."""
    kinds = ("metrics.json", "model.safetensors", "config.json")
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(results.rglob("*")) if p.name in kinds}


def run(jobs: list[Job], **options: Any) -> dict[str, Outcome]:
    return by_name(execute(jobs, view=Memory(), backoff=0.05, **options))


def lose(cluster: Any, results: Path) -> threading.Thread:
    """Kill the second node when two jobs train."""

    def when_two_train() -> None:
        until = time.monotonic() + 200
        while len([p for p in results.glob("mdp/rogue/*/train.jsonl") if p.stat().st_size]) < 2:
            if time.monotonic() > until:
                return
            time.sleep(0.05)
        cluster.remove_node(cluster.other, allow_graceful=False)

    thread = threading.Thread(target=when_two_train)
    thread.start()
    return thread


def test_all_jobs_end_although_a_node_is_lost(cluster: Any, tmp_path: Path) -> None:
    killer = lose(cluster, tmp_path / "ray")
    outcomes = run(four(tmp_path / "ray"), executor="ray", address=cluster.address)
    killer.join()
    assert {o.state for o in outcomes.values()} == {JobState.DONE}
    # The job on the lost node, and at most one more that is sent there before the cluster notices.
    assert sorted(o.attempts for o in outcomes.values()) in ([1, 1, 1, 2], [1, 1, 2, 2])
    run(four(tmp_path / "local"))
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert not list((tmp_path / "ray").glob(".probe*"))


def test_a_node_that_does_not_see_the_results_folder_says_so(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shiqbench.matrices.executors.on_ray import RayTransport

    elsewhere = tmp_path / "elsewhere" / ".probe"
    monkeypatch.setattr(RayTransport, "_settle", lambda self, settle=RayTransport._settle: settle(self) and elsewhere)
    outcome = run([job(tmp_path / "r")], executor="ray", address=cluster.address)["job"]
    assert (cause(outcome), outcome.attempts) == ("configuration", 1)
    assert outcome.error is not None
    assert re.fullmatch("node .* does not see the results folder", outcome.error["what"])
    assert outcome.error["do"] == "use a folder that all nodes share"
    assert not list(tmp_path.rglob("train.jsonl"))


def test_limits_and_crashes_on_a_cluster_are_named(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "exits", "algo.act=exit"),
        job(tmp_path, "too long", "algo.act=sleep", minutes=0.3),
        job(tmp_path, "well"),
    ]
    outcomes = run(jobs, executor="ray", at_once=2)
    assert {n: (cause(o), o.attempts) for n, o in outcomes.items()} == {
        "exits": ("killed", 2),
        "too long": ("time", 1),
        "well": (None, 1),
    }
    with pytest.raises(ConfigError, match="no node has all of it"):
        run([job(tmp_path, "greedy", seed=9, cpus=1e6)], executor="ray")


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Ray cluster to join"):
        run([job(tmp_path / "r")], executor="ray", address="127.0.0.1:1")
    assert not (tmp_path / "r").exists()
