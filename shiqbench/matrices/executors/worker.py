"""A worker process: takes jobs from a pipe, one after the other, and sends events back through it.

:mod:`shiqbench.matrices.executors.local` starts it as the leader of its own process group. When the other end of the
pipe closes, the launcher is dead: the whole group ends at once, engine processes included. The process that runs the
job next continues it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING

from shiqbench.base.causes import as_disk_error, error_facts
from shiqbench.matrices.executors.events import Ended
from shiqbench.matrices.executors.logs import printing_to
from shiqbench.matrices.executors.perform import perform
from shiqbench.running.workbench import Workbench

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.job import Job


@dataclass(frozen=True)
class Work:
    """A job, and the file for everything that is printed while it runs."""

    job: Job
    log: Path


class Stop:
    """Request to leave the job in a state that can be continued, and to end."""


def main(descriptor: int) -> None:
    """Work until the launcher sends :class:`Stop` or closes the pipe.

    Args:
        descriptor: File descriptor of this end of the pipe.
    """
    sys.argv = ["shiqbench", f"(worker of process {os.getppid()})"]  # a lock names its holder by this
    os.set_inheritable(descriptor, False)
    parent: Connection[Event, Work | Stop] = Connection(descriptor)
    queue: SimpleQueue[Work] = SimpleQueue()
    threading.Thread(target=_listen, args=(parent, queue), daemon=True).start()
    bench = Workbench(lasting=True)

    def emit(event: Event) -> None:
        try:
            parent.send(event)
        except OSError:
            _end_group()

    try:
        while True:
            work = queue.get()
            try:
                with printing_to(work.log):
                    with suppress(OSError):  # a full disk
                        sys.stderr.write(f"worker {os.getpid()} begins {work.job.name}\n")
                    ended = perform(work.job, emit, bench)
            except OSError as error:  # the log cannot be opened
                ended = Ended(work.job.name, error=error_facts(as_disk_error(error, work.log)))
            emit(ended)
            if ended.result is None and ended.error is None:  # it received Stop
                return
    except KeyboardInterrupt:
        pass  # Stop between two jobs: nothing is lost, and the parent knows
    finally:
        bench.close()


def _listen(parent: Connection[Event, Work | Stop], queue: SimpleQueue[Work]) -> None:
    while True:
        try:
            message = parent.recv()
        except (EOFError, OSError):
            _end_group()
        if isinstance(message, Stop):
            os.kill(os.getpid(), signal.SIGINT)
            continue
        queue.put(message)


def _end_group() -> None:
    os.killpg(0, signal.SIGKILL)
