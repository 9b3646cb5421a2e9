"""Runs a job on a node of a Ray cluster. Ray keeps the process, so the next job can reuse its loaded models."""

from __future__ import annotations

import socket
from contextlib import chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import ConfigError
from shiqbench.matrices.executors.events import Ended
from shiqbench.matrices.executors.limits import Watch
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
        Watch(order.job, order.events.put),
        printing_to(log_file(order.job)),
    ):
        return perform(order.job, order.events.put, _bench)
