"""Limits of a job: its memory, its time, and the error of the first limit that it exceeds."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import OverMemoryError, OverTimeError, RunError
from shiqbench.base.machine import end_with_children, resident
from shiqbench.matrices.executors.events import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.matrices.executors.events import Event
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


class Watch:
    """Ends this process and its children when its job exceeds a limit, after sending the reason.

    Args:
        job: The job that this process runs.
        emit: Receives the end of the job.
    """

    def __init__(self, job: Job, emit: Callable[[Event], None]) -> None:
        self.job, self.emit = job, emit
        self._over = threading.Event()
        self._since = time.monotonic()

    def __enter__(self) -> None:
        if self.job.resources.minutes is not None or self.job.resources.memory_gb is not None:
            threading.Thread(target=self._look, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            error = exceeded(self.job, time.monotonic() - self._since, os.getpid())
            if error is not None:
                self.emit(Ended(self.job.name, error=error_facts(error)))
                end_with_children()
