"""Which job starts next, and on what: a data structure that starts nothing itself.

A job is a row of steps (folders to be made), several of which other jobs may need too, such as the training of a
common start. A job is ready unless somebody is at the step that it would begin with, another job or another matrix:
then it would only wait for a lock. What is made is announced, so that those who wait for it become ready at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.matrix.job import Job, Resources

_ROUNDING = 1e-9  # shares of a GPU are floats


@dataclass(frozen=True)
class Capacity:
    """What there is to place jobs on.

    Attributes:
        cpus: Cores.
        gpus: Names of GPUs, as ``CUDA_VISIBLE_DEVICES`` takes them.
        memory_gb: Main memory, in 10^9 bytes.
    """

    cpus: float
    gpus: tuple[str, ...]
    memory_gb: float


class Pool:
    """Free resources of one machine.

    Args:
        capacity: All of them.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.cpus, self.memory_gb = capacity.cpus, capacity.memory_gb
        self.gpus = dict.fromkeys(capacity.gpus, 1.0)

    def never(self, needs: Resources) -> str | None:
        """What a job needs that is not there even when nothing else runs, in words; None if it fits."""
        has = self.capacity
        for what, wanted, there in (
            ("cpus", needs.cpus, has.cpus),
            ("gpus", needs.gpus, len(has.gpus)),
            ("memory_gb", needs.memory_gb or 0.0, has.memory_gb),
        ):
            if wanted > there + _ROUNDING:
                return f"{what} = {wanted:g}, and there {'is' if there == 1 else 'are'} {there:g}"
            if wanted < 0:
                return f"{what} = {wanted:g}, which is negative"
        if needs.gpus > 1 and needs.gpus != int(needs.gpus):
            return f"gpus = {needs.gpus:g}: more than one GPU must be whole ones"
        return None

    def take(self, needs: Resources) -> tuple[str, ...] | None:
        """Reserve resources: the names of the GPUs, or None if they are not free now."""
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
        # The fullest that still has room, so that whole ones stay whole.
        free = sorted((g for g, part in self.gpus.items() if part + _ROUNDING >= share), key=lambda g: self.gpus[g])
        wanted = max(1, round(count))
        return tuple(free[:wanted]) if len(free) >= wanted else None

    def _add(self, needs: Resources, gpus: tuple[str, ...], sign: int) -> None:
        self.cpus += sign * needs.cpus
        self.memory_gb += sign * (needs.memory_gb or 0.0)
        for gpu in gpus:
            self.gpus[gpu] += sign * min(1.0, needs.gpus)


@dataclass
class Entry:
    """A job on its way.

    Attributes:
        job: It.
        steps: Folders that it has to make, in order; those that others have made meanwhile count as made.
        attempts: How often it was started.
        ready_at: Not before this time.
        gpus: Where it runs.
        at: The step it is at, while it runs, or will be at first.
        begun: The step that it has begun and not finished.
        since: When it was started.
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
    """What waits, what runs, what is free. Times are seconds of any clock that only goes forward.

    Args:
        jobs: Each with the folders that it has to make, in order. Those with the fewest begin, since what others
            share is a short job of its own more often than not; otherwise the order is kept.
        pool: What they run on; None where somebody else places them.
        at_once: How many may run; None sets no limit.
    """

    def __init__(self, jobs: Sequence[tuple[Job, Sequence[str]]], pool: Pool | None, at_once: int | None) -> None:
        entries = [Entry(job, tuple(steps)) for job, steps in jobs]
        self.waiting = sorted(entries, key=lambda e: len(e.steps))
        self.running: dict[str, Entry] = {}
        self._pool, self._at_once = pool, at_once
        self._made: set[str] = set()

    def start(self, now: float, held: Callable[[str], bool] = lambda step: False) -> Entry | None:
        """The next job, which runs from now on; None if none can.

        Args:
            now: The time.
            held: Whether somebody else, such as a second matrix, is making a step; asked of few.
        """
        if self._at_once is not None and len(self.running) >= self._at_once:
            return None
        busy = {e.at for e in self.running.values()}
        for entry in self.waiting:
            first = self._first(entry)
            if entry.ready_at > now or (first is not None and first in busy):
                continue
            if first is not None and held(first):
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
        """A running job is at a step now."""
        self.running[name].at = self.running[name].begun = step

    def made(self, step: str) -> None:
        """A step is done, for all who need it."""
        self._made.add(step)
        for entry in self.running.values():
            if entry.at == step:
                entry.at = entry.begun = None

    def end(self, name: str) -> Entry:
        """A job no longer runs."""
        entry = self.running.pop(name)
        if self._pool is not None:
            self._pool.give(entry.job.resources, entry.gpus)
        return entry

    def again(self, entry: Entry, ready_at: float) -> None:
        """A job that ended waits for another attempt."""
        entry.ready_at = ready_at
        self.waiting.append(entry)

    def needing(self, step: str) -> list[Entry]:
        """Take out those who wait and need a step that nobody has made."""
        found = [e for e in self.waiting if step in e.steps and step not in self._made]
        self.waiting = [e for e in self.waiting if e not in found]
        return found

    def _first(self, entry: Entry) -> str | None:
        return next((s for s in entry.steps if s not in self._made), None)
