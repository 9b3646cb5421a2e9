"""A job on a node of a Ray cluster: runs in a process that Ray keeps, and so does what the job leaves for the next."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import chdir, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from shiqbench.base.causes import error_facts
from shiqbench.matrix.executors.events import Began, Ended, Event, Made
from shiqbench.matrix.executors.home import fetch, send
from shiqbench.matrix.executors.limits import LOOK_SECONDS, exceeded
from shiqbench.matrix.executors.logs import log_file, printing_to
from shiqbench.matrix.executors.perform import perform
from shiqbench.running.runner import steps
from shiqbench.running.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.matrix.job import Job

LOG_BYTES = 2**20  # of a log that comes home from a node without the results folder

_bench: Workbench | None = None  # of this process, from job to job


@dataclass(frozen=True)
class Order:
    """What a node is asked to do.

    Attributes:
        job: The job; its results folder and plugin files are absolute.
        folder: The current folder of who asks, for relative paths; not every node has it.
        probe: A file in the results folder: a node that sees it shares that folder.
        home: A handle of the :class:`~shiqbench.matrix.executors.home.Home` actor.
    """

    job: Job
    folder: str
    probe: str
    home: Any


def work(order: Order) -> Ended:
    """Run a job on this node."""
    import ray

    global _bench
    _bench = _bench or Workbench(lasting=True)
    bench = _bench

    def home(method: str, *arguments: Any) -> Any:
        return ray.get(getattr(order.home, method).remote(*arguments))

    def emit(event: Event) -> None:
        order.home.tell.remote(event)

    with chdir(order.folder) if Path(order.folder).is_dir() else nullcontext(), _Watch(order.job, home):
        if Path(order.probe).exists():
            with printing_to(log_file(order.job)):
                return perform(order.job, emit, bench)
        return _apart(order.job, home, emit, bench)


def _apart(job: Job, home: Any, emit: Callable[[Event], None], bench: Workbench) -> Ended:
    """Run a job where the results folder is not: in a folder of this node, with what is done already brought here."""
    there = job.request.results
    here = Path(tempfile.gettempdir()) / f"shiqbench-{os.getuid()}" / Path(job.request.results).name
    local = replace(job, request=replace(job.request, results=here))
    folders = _folders(local)
    for folder in folders:
        fetch(home, str(folder.relative_to(here)), folder)

    def translated(event: Event) -> None:
        if isinstance(event, Began | Made):
            event = replace(event, folder=str(there / Path(event.folder).relative_to(here)))
        emit(event)

    log = log_file(local)
    log.unlink(missing_ok=True)
    with printing_to(log):
        ended = perform(local, translated, bench)
    for folder in folders:
        send(home, str(folder.relative_to(here)), folder, f"-{job.name}-{os.getpid()}")
    home("log", str(log.relative_to(here)), log.read_bytes()[-LOG_BYTES:])
    return replace(ended, result=_moved(ended.result, str(here), str(there)))


def _folders(job: Job) -> list[Path]:
    """Everything that a job makes or needs: its cells, then their evaluations."""
    found = steps(job.plan)
    return list(dict.fromkeys([*(s.cell.folder for s in found), *(s.folder for s in found)]))


def _moved(value: Any, here: str, there: str) -> Any:
    """A result with the paths that it has at home."""
    if isinstance(value, dict):
        return {k: _moved(v, here, there) for k, v in value.items()}
    return there + value[len(here) :] if isinstance(value, str) and value.startswith(here) else value


class _Watch:
    """Ends this process, with its children, when the job exceeds its limits; says why before it does."""

    def __init__(self, job: Job, home: Any) -> None:
        self.job, self.home = job, home
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
                self.home("tell", Ended(self.job.name, error=error_facts(error)))
                for child in psutil.Process().children(recursive=True):
                    child.kill()
                os._exit(1)
