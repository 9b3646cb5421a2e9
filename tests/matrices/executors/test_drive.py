"""From events to outcomes, with a transport whose answers are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support_jobs import Memory, cause

from shiqbench.matrices.executors.board import Board
from shiqbench.matrices.executors.drive import Drive, RetryPolicy
from shiqbench.matrices.executors.events import Began, Ended, Event, Made
from shiqbench.matrices.executors.schedule import Schedule
from shiqbench.matrices.job import Job, JobState, Outcome, Resources
from shiqbench.planning.plan import Request


class Pretended:
    """Answers each start of a job with its next answer: a cause of failure, or ``well``."""

    def __init__(self, answers: dict[str, list[str]], steps: dict[str, list[str]]) -> None:
        self.answers, self.steps = answers, steps
        self.events: list[Event] = []
        self.started: list[str] = []
        self.closed = False

    def never(self, needs: Resources) -> str | None:
        return None

    def attached(self, job: Job) -> bool:
        return False

    def start(self, job: Job, gpus: tuple[str, ...]) -> None:
        self.started.append(job.name)
        answer = self.answers[job.name].pop(0)
        first, *rest = self.steps[job.name]
        self.events.append(Began(job.name, "begins", first))
        if answer == "well":
            self.events += [Made(job.name, s) for s in (first, *rest)]
            self.events.append(Ended(job.name, result={"cached": False}))
        else:
            self.events.append(Ended(job.name, error={"type": "E", "what": "it broke", "cause": answer}))

    def poll(self, seconds: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.closed = True


def drive(
    root: Path, answers: dict[str, list[str]], steps: dict[str, list[str]] | None = None, **policy: object
) -> tuple[dict[str, Outcome], Pretended]:
    folders = {n: [str(root / s) for s in ((steps or {}).get(n) or [n])] for n in answers}
    jobs = [(Job(n, Request("a", "t", results=root)), folders[n]) for n in answers]
    transport = Pretended(answers, folders)
    with Board(root, "local", len(jobs), Memory()) as board:
        wanted = RetryPolicy(**{"backoff": 0.0, **policy})  # type: ignore[arg-type]
        outcomes = Drive(Schedule(jobs, None, 1), transport, wanted, board, lambda job: root / job.name).run()
    return outcomes, transport


@pytest.mark.parametrize(
    ("answers", "state", "attempts"),
    [
        (["engine", "network", "well"], JobState.DONE, 3),
        (["engine", "engine", "engine"], JobState.FAILED, 3),
        (["killed", "well"], JobState.DONE, 2),
        (["killed", "killed"], JobState.FAILED, 2),
        (["configuration"], JobState.FAILED, 1),
        (["diverged"], JobState.FAILED, 1),
        (["disk_full"], JobState.FAILED, 1),
        (["out_of_memory"], JobState.FAILED, 1),
    ],
)
def test_what_is_tried_again(tmp_path: Path, answers: list[str], state: JobState, attempts: int) -> None:
    outcomes, transport = drive(tmp_path, {"a": list(answers)})
    assert (outcomes["a"].state, outcomes["a"].attempts) == (state, attempts)
    assert transport.started == ["a"] * attempts
    if state is JobState.FAILED:
        assert json.loads((tmp_path / "a" / "error.json").read_text())["cause"] == answers[-1]


def test_the_wait_doubles() -> None:
    policy = RetryPolicy(retries=3, backoff=1.5)
    assert [policy.wait("network", n) for n in (1, 2, 3, 4)] == [1.5, 3.0, 6.0, None]
    assert RetryPolicy(retries=0).wait("killed", 1) is None


def test_the_rest_goes_on_or_stops(tmp_path: Path) -> None:
    outcomes, _ = drive(tmp_path / "on", {"a": ["other"], "b": ["well"]})
    assert [o.state for o in outcomes.values()] == [JobState.FAILED, JobState.DONE]
    outcomes, transport = drive(tmp_path / "off", {"a": ["other"], "b": ["well"]}, fail_fast=True)
    assert [o.state for o in outcomes.values()] == [JobState.FAILED, JobState.STOPPED]
    assert (outcomes["b"].attempts, transport.closed) == (0, True)


def test_those_who_need_a_start_that_cannot_be_made_are_not_tried(tmp_path: Path) -> None:
    steps = {"a": ["start", "a"], "b": ["start", "b"], "c": ["c", "x"]}
    outcomes, transport = drive(tmp_path, {"a": ["diverged"], "b": [], "c": ["well"]}, steps)
    assert transport.started == ["a", "c"]
    assert (cause(outcomes["b"]), outcomes["b"].attempts) == ("diverged", 0)
    assert (tmp_path / "start" / "error.json").is_file()
    outcomes, transport = drive(tmp_path, {"a": ["other"], "b": ["well"]}, steps)
    assert transport.started == ["a", "b"]
