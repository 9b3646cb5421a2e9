"""From jobs to outcomes: start ready jobs, receive their events, retry transient failures, and collect outcomes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shiqbench.base.causes import CERTAIN, TRANSIENT, Cause
from shiqbench.base.files import write_json
from shiqbench.matrices.executors.events import Began, Ended, Made, Note
from shiqbench.matrices.job import JobState, Outcome
from shiqbench.store.cell import is_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.matrices.executors.board import Board
    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.executors.schedule import JobEntry, Schedule
    from shiqbench.matrices.job import Job, Resources

POLL_SECONDS = 0.2
KILLED_ATTEMPTS = 2  # a job whose worker died twice is not retried


class Transport(Protocol):
    """Where jobs run."""

    def never(self, needs: Resources) -> str | None:
        """Describe what a job needs that even an idle machine does not have; None if the job fits."""

    def attached(self, job: Job) -> bool:
        """Whether the job runs already, because an earlier command started it; :meth:`start` then starts no second."""

    def start(self, job: Job, gpus: tuple[str, ...]) -> None:
        """Start a job."""

    def poll(self, seconds: float) -> list[Event]:
        """Wait at most ``seconds`` for events and return them."""

    def close(self) -> None:
        """Stop the running jobs, in a state that can be continued."""


@dataclass(frozen=True)
class RetryPolicy:
    """Rules for failures.

    Attributes:
        fail_fast: Whether the first failure stops all other jobs.
        retries: Number of further attempts after a transient failure.
        backoff: Seconds before the first retry; each further retry waits twice as long.
    """

    fail_fast: bool = False
    retries: int = 2
    backoff: float = 2.0

    def wait(self, cause: str, attempts: int) -> float | None:
        """Return the seconds until the next attempt; None if there is no next attempt."""
        most = 1 + self.retries
        if cause == Cause.KILLED:
            most = min(most, KILLED_ATTEMPTS)
        if cause not in TRANSIENT or attempts >= most:
            return None
        return self.backoff * float(2 ** (attempts - 1))


class Drive:
    """Runs a schedule to its end.

    Args:
        schedule: The jobs.
        transport: Runs the jobs.
        policy: Rules for failures.
        board: Shows and writes the progress.
        folder: Returns the folder for error.json of a job that fails before its first step.
    """

    def __init__(
        self,
        schedule: Schedule,
        transport: Transport,
        policy: RetryPolicy,
        board: Board,
        folder: Callable[[Job], Path],
    ) -> None:
        self.schedule, self.transport, self.policy, self.board, self.folder = schedule, transport, policy, board, folder
        self.outcomes: dict[str, Outcome] = {}
        self._stopping = False

    def run(self, *, stopping: bool = False) -> dict[str, Outcome]:
        """Run until no job waits or runs.

        Args:
            stopping: Start no job, because one has failed before.

        Returns:
            Job's name -> its outcome.
        """
        schedule, self._stopping = self.schedule, stopping
        while (schedule.waiting or schedule.running) and not self._stopping:
            while (entry := schedule.start(time.monotonic(), self._held)) is not None:
                self.board.started(entry.job.name)
                self.transport.start(entry.job, entry.gpus)
            for event in self.transport.poll(POLL_SECONDS):
                self._take(event)
            self.board.tick()
        self.transport.close()  # fail_fast: the first failure stops the running jobs
        for entry in [*schedule.running.values(), *schedule.waiting]:
            self._end(entry, JobState.STOPPED)
        return self.outcomes

    def _take(self, event: Event) -> None:
        if event.job not in self.schedule.running:  # it was sent before the job was lost
            return
        if isinstance(event, Ended):
            self._ended(event)
            return
        if isinstance(event, Note):
            self.board.say(event.text)
            return
        if isinstance(event, Began):
            self.schedule.begins(event.job, event.folder)
        elif isinstance(event, Made):
            self.schedule.made(event.folder)
        self.board.take(event)

    def _ended(self, event: Ended) -> None:
        entry = self.schedule.end(event.job)
        self.board.ended(event.job)
        if event.result is not None:
            for folder in entry.steps:
                self.schedule.made(folder)
            state = JobState.CACHED if event.result["cached"] else JobState.DONE
            self._end(entry, state, event)
            return
        if event.error is None:
            self._end(entry, JobState.STOPPED)
            return
        cause = event.error["cause"]
        wait = self.policy.wait(cause, entry.attempts)
        if wait is not None:
            self.board.say(f"{event.job} failed ({cause}), next attempt in {wait:g} s: {event.error['what']}")
            self.schedule.again(entry, time.monotonic() + wait)
            return
        self._failed(entry, event)

    def _failed(self, entry: JobEntry, event: Ended) -> None:
        assert event.error is not None
        step = entry.begun
        self._leave_error(Path(step) if step is not None else self.folder(entry.job), event.error)
        self._end(entry, JobState.FAILED, event)
        if step is not None and event.error["cause"] in CERTAIN:
            for other in self.schedule.needing(step):
                self._end(other, JobState.FAILED, event)
        self._stopping = self.policy.fail_fast

    def _leave_error(self, folder: Path, error: dict[str, str]) -> None:
        """Write error.json as a run does itself; a run whose process died cannot."""
        with suppress(OSError):  # a full disk; the outcome contains the same
            write_json(folder / "error.json", error)

    def _end(self, entry: JobEntry, state: JobState, event: Ended | None = None) -> None:
        seconds = time.monotonic() - entry.since if entry.attempts else 0.0
        outcome = Outcome(
            entry.job.name,
            state,
            seconds,
            entry.attempts,
            event.result if event else None,
            event.error if event else None,
        )
        self.outcomes[outcome.name] = outcome
        self.board.count(outcome)

    def _held(self, job: Job, step: str) -> bool:
        return not self.transport.attached(job) and is_held(Path(step))
