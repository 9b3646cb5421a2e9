"""Runs a job on a node of a Ray cluster. Ray keeps the process, so the next job can reuse its loaded models."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import ConfigError
from shiqbench.base.machine import end_with_children
from shiqbench.matrices.executors.events import Ended
from shiqbench.matrices.executors.limits import LOOK_SECONDS, exceeded
from shiqbench.matrices.executors.logs import log_file, printing_to
from shiqbench.matrices.executors.perform import perform
from shiqbench.running.workbench import Workbench

if TYPE_CHECKING:
    from shiqbench.matrices.job import Job

_bench: Workbench | None = None  # of this process, kept from job to job


@dataclass(frozen=True)
class Order:
    """A job for a node.

    Attributes:
        job: The job; its results folder and plugin files are absolute.
        folder: Current folder of the launcher, for relative paths; not every node has it.
        probe: File in the results folder; a node that sees it shares that folder.
        events: A :class:`ray.util.queue.Queue` that takes the events.
    """

    job: Job
    folder: str
    probe: Path
    events: Any


def work(order: Order) -> Ended:
    """Run a job on this node, if it sees the results folder."""
    global _bench
    if not order.probe.exists():
        what = f"node {socket.gethostname()} does not see the results folder"
        do = "use a folder that all nodes share"
        return Ended(order.job.name, error=error_facts(ConfigError(what, where=str(order.probe.parent), do=do)))
    _bench = _bench or Workbench(lasting=True)
    with (
        chdir(order.folder) if Path(order.folder).is_dir() else nullcontext(),
        _Watch(order.job, order.events),
        printing_to(log_file(order.job)),
    ):
        return perform(order.job, order.events.put, _bench)


class _Watch:
    """Ends this process and its children when the job exceeds its limits, after sending the reason."""

    def __init__(self, job: Job, events: Any) -> None:
        self.job, self.events = job, events
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
                self.events.put(Ended(self.job.name, error=error_facts(error)))
                end_with_children()
