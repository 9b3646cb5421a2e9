"""Limits of a job: its memory, its time, and the error of the first limit that it exceeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.base.errors import OverMemoryError, OverTimeError, RunError
from shiqbench.base.machine import resident

if TYPE_CHECKING:
    from shiqbench.matrices.job import Job

LOOK_SECONDS = 0.5  # between two checks


def exceeded(job: Job, seconds: float, pid: int) -> RunError | None:
    """Return the error of the limit that a job exceeds after ``seconds`` in process ``pid``, if any."""
    limits = job.resources
    if limits.minutes is not None and seconds > limits.minutes * 60:
        return OverTimeError(
            f"longer than {limits.minutes:g} minutes", where=job.name, do="raise the limit; the same command continues"
        )
    if limits.memory_gb is not None and (used := resident(pid) / 1e9) > limits.memory_gb:
        return OverMemoryError(
            f"took {used:.2f} GB, but the limit is {limits.memory_gb:g}", where=job.name, do="raise the limit"
        )
    return None
