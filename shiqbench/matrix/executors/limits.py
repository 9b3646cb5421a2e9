"""A job's limits: how much memory it takes, how long it takes, and the error of the first that is exceeded."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from shiqbench.base.errors import OverMemoryError, OverTimeError, RunError

if TYPE_CHECKING:
    from shiqbench.matrix.job import Job

LOOK_SECONDS = 0.5  # between two looks


def memory_gb(pid: int) -> float:
    """Resident memory of a process and its children, in 10^9 bytes; 0 if it is gone."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        for each in (leader, *leader.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total / 1e9


def exceeded(job: Job, seconds: float, pid: int) -> RunError | None:
    """Which limit a job that has run for so long in that process exceeds, if any."""
    limits = job.resources
    if limits.minutes is not None and seconds > limits.minutes * 60:
        return OverTimeError(
            f"longer than {limits.minutes:g} minutes", where=job.name, do="raise the limit; the same command continues"
        )
    if limits.memory_gb is not None and (used := memory_gb(pid)) > limits.memory_gb:
        return OverMemoryError(
            f"{used:.2f} GB, and the limit is {limits.memory_gb:g}", where=job.name, do="raise the limit"
        )
    return None
