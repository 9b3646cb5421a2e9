"""The one function that carries a matrix out."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from shiqbench.causes import error_facts
from shiqbench.cell import check_writable, is_done
from shiqbench.digest import digest, short
from shiqbench.errors import ConfigError, ShiqbenchError
from shiqbench.executors.board import Board
from shiqbench.executors.drive import Drive, Policy
from shiqbench.executors.machine import this_machine
from shiqbench.executors.schedule import Pool, Schedule
from shiqbench.job import JobState, Outcome
from shiqbench.live import open_view
from shiqbench.plan import make_plan
from shiqbench.runner import missing, result_of, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from shiqbench.executors.drive import Transport
    from shiqbench.job import Job
    from shiqbench.live import View
    from shiqbench.plan import RunPlan

LOGS = ".logs"  # below the results folder


def execute(
    jobs: Sequence[Job],
    *,
    executor: Literal["local", "ray"] = "local",
    at_once: int | None = None,
    fail_fast: bool = False,
    retries: int = 2,
    backoff: float = 2.0,
    view: View | None = None,
    address: str | None = None,
) -> list[Outcome]:
    """Run jobs, each in a process that may have run others before.

    Args:
        jobs: Names are unique; all of one results folder.
        executor: ``local``, or ``ray``.
        at_once: How many run at the same time, as far as resources allow: 1 on this machine unless it is given,
            on Ray as many as the cluster takes.
        fail_fast: Stop with the first failure.
        retries: Further attempts where a failure may have been the machine's.
        backoff: Seconds before the first of them; each further one waits twice as long.
        view: Shows how it stands; a table on a terminal and lines elsewhere if left out.
        address: Of a Ray cluster to join; a local one is started if left out.

    Returns:
        Outcomes in the jobs' order.

    Raises:
        ConfigError: A job is wrong or needs what is not there; nothing was started.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what ran was told to stop and can be continued.
    """
    if not jobs:
        return []
    results = _checked(jobs, executor, at_once, address)
    plans = {job.name: make_plan(job.request) for job in jobs}
    pool = Pool(this_machine()) if executor == "local" else None
    if pool is not None:
        for job in jobs:
            _check_fits(job, pool)
    check_writable(results)
    known = {job.name: found for job in jobs if (found := _known(job, plans[job.name])) is not None}
    todo = [(job, _todo(plans[job.name])) for job in jobs if job.name not in known]
    with Board(results, executor, len(jobs), view or open_view()) as board, _interruptible():
        for outcome in known.values():
            board.count(outcome)
        drive = Drive(
            Schedule(todo, pool, at_once or (1 if executor == "local" else None)),
            _transport(executor, at_once, address),
            Policy(fail_fast, retries, backoff),
            board,
            lambda job: plans[job.name].cell.folder,
        )
        outcomes = drive.run(stopping=fail_fast and JobState.FAILED in {o.state for o in known.values()})
    return [(known | outcomes)[job.name] for job in jobs]


def _checked(jobs: Sequence[Job], executor: str, at_once: int | None, address: str | None) -> Path:
    """The jobs' results folder, if they can be run together."""
    if executor not in ("local", "ray"):
        raise ConfigError(f"unknown executor {executor!r}", where="--executor", do="local or ray")
    if address is not None and executor != "ray":
        raise ConfigError("an address is Ray's", where=address, do="add --executor ray, or leave it out")
    if at_once is not None and at_once < 1:
        raise ConfigError(f"{at_once} jobs at once", where="--jobs", do="give 1 or more")
    names = [job.name for job in jobs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two jobs are named {twice!r}", where="matrix", do="give each a name of its own")
    folders = sorted({str(job.request.results) for job in jobs})
    if len(folders) > 1:
        raise ConfigError(f"jobs of {len(folders)} results folders", where=", ".join(folders), do="give all the same")
    return jobs[0].request.results


def _check_fits(job: Job, pool: Pool) -> None:
    lacking = pool.never(job.resources)
    if lacking is not None:
        raise ConfigError(f"{lacking} on this machine", where=f"job {job.name}", do="lower what the job asks for")


def _todo(plan: RunPlan) -> list[str]:
    return [str(step.folder) for step in steps(plan) if not is_done(step.folder)]


def _known(job: Job, plan: RunPlan) -> Outcome | None:
    """The outcome of a job that needs no worker: all of it is done, or its folder is corrupt."""
    try:
        if missing(plan):
            return None
        return Outcome(job.name, JobState.CACHED, result=result_of(plan, cached=True).as_json())
    except ShiqbenchError as error:
        return Outcome(job.name, JobState.FAILED, error=error_facts(error))


def _log(job: Job) -> Path:
    """A job's log, whatever characters its name has."""
    readable = re.sub(r"[^\w.=-]+", "_", job.name)[:80]
    return job.request.results / LOGS / f"{readable}-{short(digest(job.name))[:6]}.log"


def _transport(executor: str, at_once: int | None, address: str | None) -> Transport:
    if executor == "local":
        from shiqbench.executors.local import LocalTransport

        return LocalTransport(at_once or 1, _log)
    from shiqbench.executors.on_ray import RayTransport

    return RayTransport(address)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: what runs is told to stop, and can be continued."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
