"""The function that runs the jobs of a matrix."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import ConfigError, ShiqbenchError
from shiqbench.base.trackers import is_tracked
from shiqbench.matrices.executors.board import Board
from shiqbench.matrices.executors.drive import Drive, RetryPolicy
from shiqbench.matrices.executors.machine import this_machine
from shiqbench.matrices.executors.schedule import Pool, Schedule
from shiqbench.matrices.job import JobState, Outcome
from shiqbench.matrices.live import open_view
from shiqbench.running.runner import missing, result_of, steps
from shiqbench.store.cell import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from shiqbench.matrices.executors.drive import Transport
    from shiqbench.matrices.job import Job
    from shiqbench.matrices.live import View

WITHOUT_SLURM = ("local", "debug")  # submitit's executors that run the same jobs on this machine


def execute(
    jobs: Sequence[Job],
    *,
    executor: Literal["local", "ray", "slurm"] = "local",
    at_once: int | None = None,
    fail_fast: bool = False,
    retries: int = 2,
    backoff: float = 2.0,
    view: View | None = None,
    address: str | None = None,
) -> list[Outcome]:
    """Run jobs, each in a process that may have run other jobs before.

    Args:
        jobs: Jobs with unique names and the same results folder.
        executor: ``local``, ``ray`` or ``slurm``.
        at_once: Number of jobs that run at the same time, as far as resources allow; None: 1 on this machine, and as
            many as the cluster takes on Ray and SLURM.
        fail_fast: Stop at the first failure.
        retries: Number of further attempts after a failure that the machine may have caused.
        backoff: Seconds before the first retry; each further retry waits twice as long.
        view: Shows the progress; None: a table on a terminal, lines elsewhere.
        address: Address of a Ray cluster to join; None starts a local cluster. With SLURM, ``local`` or ``debug`` try
            the same without SLURM, in processes of this machine or in this process.

    Returns:
        Outcomes in the order of the jobs.

    Raises:
        ConfigError: A job is wrong, or needs more than the machine or cluster has; nothing was started.
        KeyboardInterrupt: Ctrl-C or SIGTERM; running jobs were stopped and can be continued.
    """
    if not jobs:
        return []
    results = _checked(jobs, executor, at_once, address)
    known = {job.name: found for job in jobs if (found := _known(job)) is not None}
    todo = [job for job in jobs if job.name not in known]
    check_writable(results)
    pool = Pool(this_machine()) if executor == "local" else None
    outcomes: dict[str, Outcome] = {}
    with (
        _interruptible(),
        _opened(todo, executor, pool, at_once, results, address) as transport,
        Board(results, executor, len(jobs), view or open_view()) as board,
    ):
        for outcome in known.values():
            board.count(outcome)
        if todo:
            drive = Drive(
                Schedule(
                    [(j, [str(s.folder) for s in steps(j.plan) if not s.done()]) for j in todo],
                    pool,
                    at_once or (1 if pool or address in WITHOUT_SLURM else None),
                ),
                transport,
                RetryPolicy(fail_fast, retries, backoff),
                board,
                lambda job: job.plan.cell.folder,
            )
            outcomes = drive.run(stopping=fail_fast and JobState.FAILED in {o.state for o in known.values()})
    return [(known | outcomes)[job.name] for job in jobs]


def _checked(jobs: Sequence[Job], executor: str, at_once: int | None, address: str | None) -> Path:
    """Return the results folder of the jobs, after checking that they can run together."""
    if executor not in ("local", "ray", "slurm"):
        raise ConfigError(f"unknown executor {executor!r}", where="--executor", do="use local, ray or slurm")
    check_address(executor, address)
    if at_once is not None and at_once < 1:
        raise ConfigError(f"{at_once} jobs at once", where="--jobs", do="give 1 or more")
    ((twice, times),) = Counter(job.name for job in jobs).most_common(1)
    if times > 1:
        raise ConfigError(f"two jobs are named {twice!r}", where="matrix", do="give each its own name")
    folders = sorted({str(job.request.results) for job in jobs})
    if len(folders) > 1:
        raise ConfigError(f"jobs of {len(folders)} results folders", where=", ".join(folders), do="give all the same")
    return jobs[0].request.results


def check_address(executor: str, address: str | None) -> None:
    """Refuse an address that the executor does not know.

    Raises:
        ConfigError: The message says which it knows.
    """
    if address is not None and executor == "local":
        do = "add --executor ray or --executor slurm, or leave --address out"
        raise ConfigError("an address is for Ray and SLURM", where=f"--address {address}", do=do)
    if executor == "slurm" and address not in (None, *WITHOUT_SLURM):
        do = f"use {' or '.join(WITHOUT_SLURM)} to try it without SLURM, or leave --address out"
        raise ConfigError("SLURM has no address", where=f"--address {address}", do=do)


def _known(job: Job) -> Outcome | None:
    """Return the outcome of a job that needs no worker: all is done and tracked, or its folder is corrupt."""
    plan = job.plan  # a wrong request raises an error here, before anything starts
    try:
        if missing(plan) or not all(is_tracked(job.request.track, c.folder) for c in plan.trained):
            return None
        return Outcome(job.name, JobState.CACHED, result=result_of(plan, cached=True).as_json())
    except ShiqbenchError as error:
        return Outcome(job.name, JobState.FAILED, error=error_facts(error))


@contextmanager
def _opened(
    todo: Sequence[Job], executor: str, pool: Pool | None, at_once: int | None, results: Path, address: str | None
) -> Iterator[Transport]:
    """Open the transport and check that every job fits; the transport is closed in any case."""
    transport: Transport
    if pool is not None or not todo:  # without a job to run, no cluster is needed
        from shiqbench.matrices.executors.local import LocalTransport

        transport = LocalTransport(at_once or 1, pool or Pool(this_machine()))
    elif executor == "slurm":
        from shiqbench.matrices.executors.on_slurm import SlurmTransport

        transport = SlurmTransport(address, results)
    else:
        from shiqbench.matrices.executors.on_ray import RayTransport

        transport = RayTransport(address, results)
    try:
        for job in todo:
            if lacking := transport.never(job.resources):
                raise ConfigError(lacking, where=f"job {job.name}", do="change the resources of the job")
        yield transport
    finally:
        transport.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM act like Ctrl-C: running jobs are stopped and can be continued."""
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
