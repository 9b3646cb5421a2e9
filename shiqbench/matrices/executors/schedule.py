"""Chooses the next job and its resources: a data structure that starts nothing itself.

A job is a list of steps (folders to be made). Other jobs may need the same steps, such as the training of a common
start. A job waits while another job or another matrix makes the step it needs first: it would only wait for a lock.
When a step is made, the jobs that wait for it become ready at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.matrices.job import Job, Resources

_ROUNDING = 1e-9  # fractions of a GPU are floats


@dataclass(frozen=True)
class Capacity:
    """Resources of a machine.

    Attributes:
        cpus: Number of cores.
        gpus: Names of GPUs, as ``CUDA_VISIBLE_DEVICES`` takes them.
        memory_gb: Main memory in 10^9 bytes.
    """

    cpus: float
    gpus: tuple[str, ...]
    memory_gb: float


class Pool:
    """Free resources of one machine.

    Args:
        capacity: All resources of the machine.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.cpus, self.memory_gb = capacity.cpus, capacity.memory_gb
        self.gpus = dict.fromkeys(capacity.gpus, 1.0)

    def never(self, needs: Resources) -> str | None:
        """Describe what a job needs that even the idle machine does not have; None if the job fits."""
        has = self.capacity
        for what, wanted, there in (
            ("cpus", needs.cpus, has.cpus),
            ("gpus", needs.gpus, len(has.gpus)),
            ("memory_gb", needs.memory_gb or 0.0, has.memory_gb),
        ):
            if wanted > there + _ROUNDING:
                return f"{what} = {wanted:g}, but there {'is' if there == 1 else 'are'} {there:g}"
            if wanted < 0:
                return f"{what} = {wanted:g}, which is negative"
        if needs.gpus > 1 and needs.gpus != int(needs.gpus):
            return f"gpus = {needs.gpus:g}: above 1 it must be a whole number"
        return None

    def take(self, needs: Resources) -> tuple[str, ...] | None:
        """Reserve resources and return the names of the GPUs; None if the resources are not free now."""
        if needs.cpus > self.cpus + _ROUNDING or (needs.memory_gb or 0.0) > self.memory_gb + _ROUNDING:
            return None
        gpus = self._gpus(needs.gpus)
        if gpus is None:
            return None
        self._add(needs, gpus, -1)
        return gpus

    def give(self, needs: Resources, gpus: tuple[str, ...]) -> None:
        """Free what :meth:`take` reserved."""
        self._add(needs, gpus, +1)

    def _gpus(self, count: float) -> tuple[str, ...] | None:
        if count == 0:
            return ()
        share = min(1.0, count)
        # The fullest GPU with room first, so that free GPUs stay free.
        free = sorted((g for g, part in self.gpus.items() if part + _ROUNDING >= share), key=lambda g: self.gpus[g])
        wanted = max(1, round(count))
        return tuple(free[:wanted]) if len(free) >= wanted else None

    def _add(self, needs: Resources, gpus: tuple[str, ...], sign: int) -> None:
        self.cpus += sign * needs.cpus
        self.memory_gb += sign * (needs.memory_gb or 0.0)
        for gpu in gpus:
            self.gpus[gpu] += sign * min(1.0, needs.gpus)


@dataclass
class JobEntry:
    """A job and its progress through the schedule.

    Attributes:
        job: The job.
        steps: Folders that the job has to make, in order; a folder that another job has made counts as made.
        attempts: Number of starts.
        ready_at: Earliest time of the next start.
        gpus: GPUs that the job runs on.
        at: Current step of a running job, or the step it makes first.
        begun: Step that the job has begun and not finished.
        since: Time of the last start.
    """

    job: Job
    steps: tuple[str, ...]
    attempts: int = 0
    ready_at: float = 0.0
    gpus: tuple[str, ...] = ()
    at: str | None = None
    begun: str | None = None
    since: float = 0.0


class Schedule:
    """Waiting jobs, running jobs and free resources. Times are seconds of any monotonic clock.

    Args:
        jobs: Jobs, each with the folders that it has to make, in order. Jobs with the fewest folders start first,
            because a shared step is usually a short job itself; otherwise the order is kept.
        pool: Resources of the jobs; None if the transport places them.
        at_once: Number of jobs that may run at the same time; None sets no limit.
    """

    def __init__(self, jobs: Sequence[tuple[Job, Sequence[str]]], pool: Pool | None, at_once: int | None) -> None:
        entries = [JobEntry(job, tuple(steps)) for job, steps in jobs]
        self.waiting = sorted(entries, key=lambda e: len(e.steps))
        self.running: dict[str, JobEntry] = {}
        self._pool, self._at_once = pool, at_once
        self._made: set[str] = set()

    def start(self, now: float, held: Callable[[Job, str], bool] = lambda job, step: False) -> JobEntry | None:
        """Start the next job and return it; None if no job can start.

        Args:
            now: Current time.
            held: Returns whether another process, such as a second matrix, makes the first step of a job; called for
                few steps.
        """
        if self._at_once is not None and len(self.running) >= self._at_once:
            return None
        busy = {e.at for e in self.running.values()}
        for entry in self.waiting:
            first = self._first(entry)
            if entry.ready_at > now or (first is not None and first in busy):
                continue
            if first is not None and held(entry.job, first):
                continue
            gpus = self._pool.take(entry.job.resources) if self._pool else ()
            if gpus is None:
                continue
            self.waiting.remove(entry)
            entry.gpus, entry.at, entry.begun, entry.since = gpus, first, None, now
            entry.attempts += 1
            self.running[entry.job.name] = entry
            return entry
        return None

    def begins(self, name: str, step: str) -> None:
        """Note that a running job has begun a step."""
        self.running[name].at = self.running[name].begun = step

    def made(self, step: str) -> None:
        """Note that a step is done, for all jobs that need it."""
        self._made.add(step)
        for entry in self.running.values():
            if entry.at == step:
                entry.at = entry.begun = None

    def end(self, name: str) -> JobEntry:
        """Note that a job no longer runs, and free its resources."""
        entry = self.running.pop(name)
        if self._pool is not None:
            self._pool.give(entry.job.resources, entry.gpus)
        return entry

    def again(self, entry: JobEntry, ready_at: float) -> None:
        """Let a job that ended wait for another attempt."""
        entry.ready_at = ready_at
        self.waiting.append(entry)

    def needing(self, step: str) -> list[JobEntry]:
        """Remove and return the waiting jobs that need a step which is not made."""
        found = [e for e in self.waiting if step in e.steps and step not in self._made]
        self.waiting = [e for e in self.waiting if e not in found]
        return found

    def _first(self, entry: JobEntry) -> str | None:
        return next((s for s in entry.steps if s not in self._made), None)
