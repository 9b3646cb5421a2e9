"""The schedule and the pool, without starting a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiqbench.matrices.executors.schedule import Capacity, JobEntry, Pool, Schedule
from shiqbench.matrices.job import Job, Resources
from shiqbench.planning.plan import Request


def job(name: str, **resources: Any) -> Job:
    return Job(name, Request("a", "t", results=Path("r")), Resources(**resources))


def pool(cpus: float = 4, gpus: tuple[str, ...] = (), memory_gb: float = 10) -> Pool:
    return Pool(Capacity(cpus, gpus, memory_gb))


def started(schedule: Schedule, now: float = 0.0) -> list[str]:
    found = []
    while (entry := schedule.start(now)) is not None:
        found.append(entry.job.name)
    return found


def test_as_many_run_as_were_allowed_and_as_fit() -> None:
    jobs = [(job(n, cpus=2), [n]) for n in "abc"]
    assert started(Schedule(jobs, pool(4), None)) == ["a", "b"]
    assert started(Schedule(jobs, pool(4), 1)) == ["a"]
    assert started(Schedule(jobs, None, None)) == ["a", "b", "c"]


def test_a_smaller_job_passes_one_that_does_not_fit_now() -> None:
    schedule = Schedule([(job("big", cpus=3), ["x"]), (job("huge", cpus=4), ["y"]), (job("small"), ["z"])], pool(4), 9)
    assert started(schedule) == ["big", "small"]
    schedule.end("big")
    assert started(schedule) == []
    schedule.end("small")
    assert started(schedule) == ["huge"]


def test_the_first_of_a_common_start_makes_it_and_the_others_follow_when_it_is_made() -> None:
    jobs = [(job(n), ["start", f"cell {n}", "base"]) for n in "abc"] + [(job("d"), ["other start", "cell d", "base"])]
    schedule = Schedule(jobs, pool(4), 4)
    assert started(schedule) == ["a", "d"]
    schedule.begins("a", "start")
    assert started(schedule) == []
    schedule.made("start")
    assert started(schedule) == ["b", "c"]


def test_what_only_waits_for_what_runs_comes_later() -> None:
    jobs = [(job("one"), ["cell one", "base"]), (job("base"), ["base"])]
    schedule = Schedule(jobs, pool(4), 2)
    assert started(schedule) == ["base", "one"]  # jobs with the fewest steps start first
    schedule.end("one")
    alone = Schedule([(job("one"), ["cell one", "base"]), (job("two"), ["base", "x"])], pool(4), 2)
    first = alone.start(0)
    assert first is not None
    alone.made("cell one")
    alone.begins("one", "base")
    assert started(alone) == []
    alone.made("base")
    assert started(alone) == ["two"]


def test_the_failure_of_whoever_made_the_start_frees_it() -> None:
    schedule = Schedule([(job(n), ["start", n]) for n in "ab"], pool(4), 2)
    assert started(schedule) == ["a"]
    schedule.end("a")
    assert started(schedule) == ["b"]


def test_those_who_need_what_cannot_be_made_are_found() -> None:
    schedule = Schedule([(job("a"), ["start", "a"]), (job("b"), ["start", "b"]), (job("c"), ["c"])], None, None)
    assert [e.job.name for e in schedule.needing("start")] == ["a", "b"]
    assert [e.job.name for e in schedule.waiting] == ["c"]
    schedule.made("c")
    assert schedule.needing("c") == []


def test_another_attempt_waits_for_its_time() -> None:
    schedule = Schedule([(job("a"), ["a"])], pool(4), 1)
    assert started(schedule) == ["a"]
    entry: JobEntry = schedule.end("a")
    schedule.again(entry, ready_at=5.0)
    assert started(schedule, 4.9) == []
    assert started(schedule, 5.0) == ["a"]
    assert entry.attempts == 2


def test_gpus_are_assigned_whole_or_in_shares() -> None:
    p = pool(gpus=("0", "1"))
    half, whole, both = Resources(gpus=0.5), Resources(gpus=1), Resources(gpus=2)
    assert p.take(half) == ("0",)
    assert p.take(both) is None
    assert p.take(half) == ("0",)  # the fullest GPU with room
    assert p.take(whole) == ("1",)
    assert p.take(half) is None
    p.give(half, ("0",))
    p.give(half, ("0",))
    p.give(whole, ("1",))
    assert p.take(both) == ("0", "1")
    assert p.take(Resources(cpus=0)) == ()


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Resources(cpus=5), "cpus = 5, but there are 4"),
        (Resources(gpus=2), "gpus = 2, but there is 1"),
        (Resources(memory_gb=11), "memory_gb = 11, but there are 10"),
        (Resources(cpus=-1), "cpus = -1, which is negative"),
    ],
)
def test_what_can_never_fit_is_said(needs: Resources, said: str) -> None:
    assert pool(gpus=("0",)).never(needs) == said


def test_a_gpu_and_a_half_is_not_to_be_had() -> None:
    assert "must be a whole number" in str(pool(gpus=("0", "1")).never(Resources(gpus=1.5)))
    assert pool(gpus=("0", "1")).never(Resources(gpus=2)) is None


def test_what_another_matrix_is_making_comes_later() -> None:
    schedule = Schedule([(job("a"), ["a"]), (job("b"), ["b"])], pool(4), 2)
    first = schedule.start(0, lambda job, step: step == "a")
    assert first is not None
    assert first.job.name == "b"
    assert schedule.start(0, lambda job, step: step == "a") is None
    assert started(schedule) == ["a"]
