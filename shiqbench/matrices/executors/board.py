"""Keeps the state of a running matrix, shows it, and writes it to a file that other processes can read."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from shiqbench.base.files import write_json
from shiqbench.matrices.executors.events import Began, Made, Progress
from shiqbench.matrices.executors.outcomes import error_line
from shiqbench.matrices.job import JobState
from shiqbench.matrices.live import MatrixState, Running, clock, live_file, runs, states

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.job import Outcome
    from shiqbench.matrices.live import View

WRITE_SECONDS = 1.0


class Board:
    """Progress of one matrix.

    Args:
        results: Results folder; ``.live/<machine>-<pid>.json`` in it contains the state for other processes.
        executor: ``local``, ``ray`` or ``slurm``.
        total: Number of jobs.
        view: Shows the state.
    """

    def __init__(self, results: Path, executor: str, total: int, view: View) -> None:
        self.view = view
        self.path = live_file(results, socket.gethostname(), os.getpid())
        born = psutil.Process().create_time()
        self.state = MatrixState(os.getpid(), born, socket.gethostname(), executor, total)
        self._running: dict[str, Running] = {}
        self._written = 0.0
        for old in states(results):
            if not runs(old):
                live_file(results, old.host, old.pid).unlink(missing_ok=True)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.ended, self._running = True, {}
        self._write()
        self.view.close()

    def started(self, job: str) -> None:
        """Note that a worker has received a job."""
        self._running[job] = Running(job, time.time())

    def take(self, event: Event) -> None:
        """Take an event that a worker sent about its job."""
        r = self._running[event.job]
        fresh = Running(r.name, r.since)
        if isinstance(event, Began):
            self._running[event.job] = replace(fresh, stage=event.text)
        elif isinstance(event, Made):
            self._running[event.job] = replace(fresh, stage="between steps")
        elif isinstance(event, Progress):
            self._running[event.job] = replace(
                r,
                stage=event.stage,
                done=event.done,
                total=event.total,
                loss=event.loss,
                tokens_per_second=event.tokens_per_second,
                seconds_left=event.seconds_left,
            )

    def ended(self, job: str) -> None:
        """Note that no worker has the job any more."""
        del self._running[job]

    def count(self, outcome: Outcome) -> None:
        """Count an outcome, and print it unless the job was done before."""
        counts = self.state.counts
        counts[outcome.state.value] = counts.get(outcome.state.value, 0) + 1
        ended = self.state.total - self.state.left
        if outcome.state is JobState.FAILED:
            self.say(f"{ended}/{self.state.total} failed {outcome.name}: {error_line(outcome)}")
        elif outcome.state is not JobState.CACHED:
            self.say(f"{ended}/{self.state.total} {outcome.state} {outcome.name} {clock(outcome.seconds)}")

    def say(self, text: str) -> None:
        """Print a line that stays on the screen."""
        self.view.say(text)

    def tick(self) -> None:
        """Show and write the state, at most once a second."""
        if time.monotonic() - self._written > WRITE_SECONDS:
            self._write()
            self.view.update(self.state)

    def _write(self) -> None:
        self._written = time.monotonic()
        self.state.running, self.state.updated = list(self._running.values()), time.time()
        with suppress(OSError):  # a full disk: jobs report it, and the display does not need the file
            write_json(self.path, self.state.as_json())
