"""Jobs on a Ray cluster: each is a Ray task with its resources; Ray chooses the node and keeps the processes.

All nodes share the results folder. A task whose process or node is lost returns as a failure. The policy for failures
starts it again, and it continues from its checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import ConfigError, MissingDependencyError, WorkerLostError
from shiqbench.matrices.executors.events import Ended
from shiqbench.matrices.executors.local import GRACE_SECONDS
from shiqbench.matrices.executors.node import Order, work

if TYPE_CHECKING:
    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.job import Job, Resources


class RayTransport:
    """Starts jobs as Ray tasks and collects their events.

    Args:
        address: Address of a cluster to join; None starts one on this machine, unless this process has joined one.
        results: Results folder; created if missing.

    Raises:
        MissingDependencyError: Ray is not installed.
        ConfigError: There is no cluster at that address.
    """

    def __init__(self, address: str | None, results: Path) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default of Ray's next version
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "ray is not installed", where="--executor ray", do="pip install 'shiqbench[ray]'"
            ) from error
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _init(ray, address)
        self.results = results.absolute()
        self._probe: Path | None = None
        self._events: Any = None
        self._running: dict[Any, Job] = {}
        self._work = ray.remote(work)

    def never(self, needs: Resources) -> str | None:
        """Describe what a job needs, if no node of the cluster has all of it; None if one has."""
        wanted = {k: v for k, v in _demands(needs).items() if v}
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        nodes = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        if any(all(n.get(names[k], 0) >= v for k, v in wanted.items()) for n in nodes):
            return None
        return f"{', '.join(f'{k} = {v:g}' for k, v in wanted.items())} on one node, but no node has all of it"

    def attached(self, job: Job) -> bool:
        """Return False: what an earlier command started has ended with it."""
        return False

    def start(self, job: Job, gpus: tuple[str, ...]) -> None:
        """Give a job to Ray, which starts it where its resources are free."""
        if self._probe is None:
            self._probe = self._settle()
        plugins = tuple(p.absolute() for p in job.request.plugins)
        placed = replace(job, request=replace(job.request, results=self.results, plugins=plugins))
        order = Order(placed, str(Path.cwd()), self._probe, self._events)
        # Failures return to this process: the policy counts them and waits between attempts.
        task = self._work.options(name=job.name, max_retries=0, **_demands(job.resources))
        self._running[task.remote(order)] = job

    def poll(self, seconds: float) -> list[Event]:
        """Wait at most ``seconds`` for a job to end, and return the events of the nodes."""
        if not self._running:
            time.sleep(seconds)
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        events: list[Event] = self._events.get_nowait_batch(self._events.qsize())
        said = {e.job for e in events if isinstance(e, Ended)}  # sent by a job that ended its own process
        for task in ended:
            job = self._running.pop(task)
            found = self._answer(task, job)
            if job.name not in said:
                events.append(found)
        return events

    def close(self) -> None:
        """Interrupt the running jobs, then kill them; leave the cluster, and stop it if it was started here."""
        for task in self._running:
            self._ray.cancel(task, force=False)
        if self._running:
            tasks = list(self._running)
            _, late = self._ray.wait(tasks, num_returns=len(tasks), timeout=GRACE_SECONDS)
            for task in late:
                self._ray.cancel(task, force=True)
        self._running = {}
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)
            self._events.shutdown(force=True)
        self._probe = None
        if self._ours:
            self._ray.shutdown()

    def _settle(self) -> Path:
        """Create the event queue on this machine, and the probe file that nodes look for."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self.results.mkdir(parents=True, exist_ok=True)
        probe = self.results / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        return probe

    def _answer(self, task: Any, job: Job) -> Ended:
        """Return the result of a task, or an error if the task was lost."""
        errors = self._ray.exceptions
        try:
            ended: Ended = self._ray.get(task)
        except (errors.TaskCancelledError, errors.RayTaskError) as error:
            if isinstance(error, errors.TaskCancelledError):
                return Ended(job.name)
            return Ended(job.name, error=error_facts(error.cause or error))
        except errors.RayError as error:
            what = f"lost on the cluster: {type(error).__name__}"
            lost = WorkerLostError(what, where=job.name, do="see Ray's logs; the same command continues")
            return Ended(job.name, error=error_facts(lost))
        return ended


def _init(ray: Any, address: str | None) -> None:
    if address is not None:
        _check_listens(address)
    options = {"include_dashboard": False} if address is None else {}
    logging.getLogger("ray").setLevel(logging.ERROR)  # it logs before it reads its own option
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="error", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, " ".join(str(error).split())[:200]) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's handler would end this process without stopping the jobs


def _check_listens(address: str) -> None:
    """Fail at once if no cluster answers; Ray itself tries for more than a minute."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdigit():  # a word such as "auto" has no port
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from error


def _no_cluster(address: str | None, why: str) -> ConfigError:
    return ConfigError(
        f"no Ray cluster to join: {why}",
        where=f"--address {address}" if address else "--executor ray",
        do="start one with `ray start --head`, or remove the address",
    )


def _demands(needs: Resources) -> dict[str, float]:
    return {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": int((needs.memory_gb or 0) * 1e9)}
