"""Jobs on this machine: worker processes that run many jobs, each worker bound to its GPUs.

If a worker dies, only its own job is lost. A worker that exceeds the limits of its job is killed with all its
children. Standard output and standard error go to the log of the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import WorkerLostError
from shiqbench.base.machine import resident
from shiqbench.matrices.executors.events import Ended
from shiqbench.matrices.executors.limits import LOOK_SECONDS, exceeded
from shiqbench.matrices.executors.logs import log_file
from shiqbench.matrices.executors.worker import Stop, Work

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.executors.schedule import Pool
    from shiqbench.matrices.job import Job, Resources

GRACE_SECONDS = 20.0  # for a worker that received Stop


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection[Work | Stop, Event]
    gpus: tuple[str, ...]
    job: Job | None = None
    since: float = 0.0
    model: str | None = None  # of its last job

    def tell(self, message: Work | Stop) -> None:
        with suppress(OSError):  # a dead worker is found when its answer is read
            self.pipe.send(message)

    def kill(self) -> int:
        """Kill the worker with all its children; return its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self.pipe.close()
        return code


class LocalTransport:
    """Starts jobs in worker processes and collects their events.

    Args:
        at_once: Maximum number of workers.
        pool: Resources of this machine.
    """

    def __init__(self, at_once: int, pool: Pool) -> None:
        self.at_once, self.pool = at_once, pool
        self._workers: list[_Worker] = []
        self._looked = 0.0

    def never(self, needs: Resources) -> str | None:
        """Describe what a job needs that this machine does not have; None if the job fits."""
        return self.pool.never(needs)

    def attached(self, job: Job) -> bool:
        """Return False: what an earlier command started has ended with it."""
        return False

    def start(self, job: Job, gpus: tuple[str, ...]) -> None:
        """Give a job to a worker that is bound to these GPUs; start one if there is none."""
        worker = self._idle(job, gpus) or self._spawn(gpus)
        worker.job, worker.since, worker.model = job, time.monotonic(), job.request.model
        worker.tell(Work(job, log_file(job)))

    def poll(self, seconds: float) -> list[Event]:
        """Wait at most ``seconds`` for events of the workers and return them."""
        wait([w.pipe for w in self._workers], timeout=seconds)
        events: list[Event] = []
        for worker in list(self._workers):
            events += self._told(worker)
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            for worker in list(self._workers):
                if worker.job is None:
                    continue
                error = exceeded(worker.job, time.monotonic() - worker.since, worker.process.pid)
                if error is not None:
                    events.append(Ended(worker.job.name, error=error_facts(error)))
                    self._end(worker)
        return events

    def close(self) -> None:
        """Send Stop to every worker, and kill those that do not stop."""
        for worker in self._workers:
            worker.tell(Stop())
        until = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, until - time.monotonic()))
            worker.kill()
        self._workers = []

    def _idle(self, job: Job, gpus: tuple[str, ...]) -> _Worker | None:
        """Return an idle worker for the job, preferably one that has the model; else end others to make room."""
        limit = job.resources.memory_gb
        idle = [w for w in self._workers if w.job is None]
        # The memory that a worker keeps counts towards the limit of its next job: at most half of that limit.
        fit = [w for w in idle if w.gpus == gpus and (limit is None or resident(w.process.pid) / 1e9 < limit / 2)]
        if fit:
            return max(fit, key=lambda w: w.model == job.request.model)
        for worker in idle:
            if len(self._workers) >= self.at_once or set(worker.gpus) & set(gpus):
                self._end(worker)
        return None

    def _spawn(self, gpus: tuple[str, ...]) -> _Worker:
        ours, theirs = Pipe()
        code = f"from shiqbench.matrices.executors.worker import main; main({theirs.fileno()})"
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(gpus)},
        )
        theirs.close()
        worker = _Worker(process, ours, gpus)
        self._workers.append(worker)
        return worker

    def _told(self, worker: _Worker) -> Iterable[Event]:
        ended = worker.process.poll() is not None  # checked first: events that it sent before its end are still read
        try:
            while worker.pipe.poll():
                event = worker.pipe.recv()
                if isinstance(event, Ended):
                    worker.job = None
                yield event
        except (EOFError, OSError):
            ended = True
        if ended:
            yield from self._died(worker)

    def _died(self, worker: _Worker) -> Iterable[Event]:
        job, code = worker.job, self._end(worker)
        if job is None:
            return
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        do = "see its log, and check whether the machine ran out of memory; the same command continues"
        error = WorkerLostError(f"the worker process ended with {how}", where=str(log_file(job)), do=do)
        yield Ended(job.name, error=error_facts(error))

    def _end(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        return worker.kill()
