"""Jobs on a SLURM cluster, through submitit: jobs that are ready together and ask the same are one array.

A SLURM job outlives the command that submitted it. So its id is kept in the results folder, and a later command
attaches to it. At its time limit, or if it is preempted, a job continues from its checkpoint: it is requeued by itself,
or by SLURM, or, if it was killed before it could do so, it is submitted again here.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.causes import error_facts
from shiqbench.base.errors import OverMemoryError, RunError, SubmissionError, WorkerLostError
from shiqbench.base.progress import Display
from shiqbench.matrices.executors.events import Ended, Note, Progress
from shiqbench.matrices.executors.local import GRACE_SECONDS
from shiqbench.matrices.executors.logs import LOGS
from shiqbench.matrices.executors.sbatch import FOLDER, arrays, parameters, refusal, script, submitit, warning_seconds
from shiqbench.matrices.executors.slurm_node import JobFiles, Order, Work
from shiqbench.matrices.executors.slurm_queue import (
    ENDED,
    GOES_ON,
    UNKNOWN,
    Queue,
    cancel,
    check_commands,
    reason,
    refused,
)
from shiqbench.running.runner import missing, result_of

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.job import Job, Resources

LOOK_SECONDS = 2.0  # between two looks at the files of the jobs
LATE_SECONDS = 15.0  # what a node wrote may take so long to be seen here
ENDLESS = 1_000_000  # time limits of one job; it is given up if it saves nothing (slurm_node.MOST_IDLE)


@dataclass
class _Task:
    """A job that runs or waits in SLURM.

    Attributes:
        job: The job.
        files: Its files.
        handle: submitit's view of its SLURM job.
        offset: Bytes of its events that were read.
        stage: What was last reported about its state in SLURM.
        ended: Its end, once it is read.
        late: Time at which the SLURM job, or the job, was first seen to have ended.
    """

    job: Job
    files: JobFiles
    handle: Any = None
    offset: int = 0
    stage: str = ""
    ended: Ended | None = None
    late: float | None = None

    @property
    def number(self) -> str:
        """Id of the SLURM job."""
        return str(self.handle.job_id)


class SlurmTransport:
    """Submits jobs to SLURM and collects their events.

    Args:
        address: None is SLURM. ``local`` and ``debug`` are submitit's executors of these names, which do the same in
            processes on this machine and in this process.
        results: Results folder, which the nodes share; jobs of an earlier command are looked up in it.

    Raises:
        MissingDependencyError: submitit is not installed.
        ConfigError: This machine has no SLURM.
    """

    def __init__(self, address: str | None, results: Path) -> None:
        self._submitit = submitit()
        self.cluster = address or "slurm"
        self._queue = Queue() if self.cluster == "slurm" else None
        if self._queue is not None:
            check_commands()
        self.results, self.folder = results, results.absolute() / FOLDER
        self._new: list[_Task] = []
        self._running: dict[str, _Task] = {}
        self._notes: list[Event] = []
        self._refused: dict[str, str | None] = {}
        self._earlier = self._queued()
        self._looked = 0.0

    def never(self, needs: Resources) -> str | None:
        """Describe what a job asks that SLURM refuses; None if SLURM would take it."""
        if (why := refusal(needs)) is not None or self._queue is None:
            return why
        if (key := repr(needs)) not in self._refused:
            self._refused[key] = refused(script(needs, 1, self.folder))
        return self._refused[key]

    def attached(self, job: Job) -> bool:
        """Whether a SLURM job of an earlier command runs this job or will run it."""
        return bool(self._earlier) and JobFiles.of(job).key in self._earlier

    def start(self, job: Job, gpus: tuple[str, ...]) -> None:
        """Attach to the SLURM job of an earlier command, or note the job for the next submission."""
        task = _Task(job, JobFiles.of(job))
        task.handle = self._earlier.pop(task.files.key, None)
        if task.handle is None:
            task.files.remove()
            self._new.append(task)
            return
        self._running[job.name] = task
        self._notes.append(Note(job.name, f"{job.name}: SLURM job {task.number} of an earlier command goes on"))

    def poll(self, seconds: float) -> list[Event]:
        """Submit what was started, wait ``seconds``, and return the events of the nodes."""
        events, self._notes = [*self._notes, *self._submit()], []
        time.sleep(seconds)
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            for task in list(self._running.values()):
                events += self._look(task, now)
        return events

    def close(self) -> None:
        """Cancel the SLURM jobs that have not ended, and wait until they have left their cells."""
        live = [task for task in self._running.values() if task.ended is None]
        self._running, self._new = {}, []
        if not live:
            return
        for task in live:
            task.files.slurm_id.unlink(missing_ok=True)
            if self._queue is None:
                task.handle.cancel()
        if self._queue is not None:
            cancel([task.number for task in live])
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and not all(map(self._over, live)):
            time.sleep(1.0)
            if self._queue is not None:
                self._queue.ask()
        Display().say(f"cancelled {len(live)} SLURM job{'s' if len(live) > 1 else ''}")

    def _queued(self) -> dict[str, Any]:
        """Return the jobs of earlier commands that are still in SLURM: key -> submitit's job."""
        if self._queue is None:  # submitit's other executors cannot find a job of another process
            return {}
        ids = {p.name.removesuffix(".id"): p.read_text(encoding="utf-8") for p in self.folder.glob("*.id")}
        live = {key: number for key, number in ids.items() if self._queue.state(number) not in (*ENDED, UNKNOWN)}
        return {key: self._submitit.SlurmJob(self.folder, number) for key, number in live.items()}

    def _submit(self) -> list[Event]:
        """Submit the new jobs, as few arrays as possible."""
        tasks, self._new = {task.job.name: task for task in self._new}, []
        events: list[Event] = []
        for same in arrays(task.job for task in tasks.values()):
            orders = [self._order(tasks[job.name]) for job in same]
            try:
                handles = self._executor(same[0].resources).map_array(Work(), orders)
            except (RuntimeError, OSError) as error:  # submitit's errors are RuntimeErrors
                what = f"SLURM did not take the job: {reason(str(error))}"
                do = "if there are too many jobs, limit them by --jobs; the same command continues"
                facts = error_facts(SubmissionError(what, where="sbatch", do=do))
                events += [Ended(job.name, error=facts) for job in same]
                continue
            for job, handle in zip(same, handles, strict=True):
                task = self._running[job.name] = tasks[job.name]
                task.handle, task.stage, task.late = handle, "", None
                if self._queue is not None:
                    task.files.slurm_id.write_text(task.number, encoding="utf-8")
            if self._queue is not None:
                self._queue.ask()
            events.append(Note(same[0].name, self._submitted(same, [h.job_id for h in handles])))
        return events

    def _submitted(self, jobs: list[Job], numbers: list[str]) -> str:
        """Describe a submission, and where logs are."""
        needs = jobs[0].resources
        asked = [f"{needs.cpus:g} cpus", f"{needs.gpus:g} gpus", f"{needs.minutes:g} minutes"]
        asked += [] if needs.memory_gb is None else [f"{needs.memory_gb:g} GB"]
        asked += [] if needs.slurm.partition is None else [f"partition {needs.slurm.partition}"]
        array = len(jobs) > 1 and self._queue is not None
        name = f"array {numbers[0].partition('_')[0]}" if array else ", ".join(numbers)
        cells = f"{len(jobs)} cell{'s' if len(jobs) > 1 else ''}"
        logs = f"{self.results / LOGS}, and of what fails before a cell begins in {self.results / FOLDER}"
        return f"submitted {cells} to {self.cluster}: {name} ({', '.join(asked)}); logs are in {logs}"

    def _order(self, task: _Task) -> Order:
        request = task.job.request
        plugins = tuple(p.absolute() for p in request.plugins)
        placed = replace(task.job, request=replace(request, results=request.results.absolute(), plugins=plugins))
        if self.cluster == "debug":  # over a limit, a process ends itself, and debug runs jobs in this one
            placed = replace(placed, resources=replace(placed.resources, memory_gb=None))
        return Order(placed, task.files)

    def _executor(self, needs: Resources) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.cluster == "debug":
            return self._submitit.DebugExecutor(self.folder)
        if self.cluster == "local":
            executor = self._submitit.LocalExecutor(self.folder, max_num_timeout=ENDLESS)
            executor.update_parameters(
                timeout_min=needs.minutes,
                gpus_per_node=int(needs.gpus),
                signal_delay_s=warning_seconds(needs),
                setup=list(needs.slurm.setup),
                stderr_to_stdout=True,
            )
            return executor
        executor = self._submitit.SlurmExecutor(self.folder, max_num_timeout=ENDLESS)
        executor.update_parameters(**parameters(needs))
        return executor

    def _state(self, task: _Task) -> str:
        return str(task.handle.state) if self._queue is None else self._queue.state(task.number)

    def _over(self, task: _Task) -> bool:
        """Whether the SLURM job of a task has ended; ``debug`` runs it here."""
        if self._queue is None:
            return bool(task.handle.done())
        return task.handle.paths.result_pickle.exists() or self._queue.state(task.number) in (*ENDED, UNKNOWN)

    def _look(self, task: _Task, now: float) -> list[Event]:
        """Return the new events of a job; its end only when its SLURM job has ended too."""
        over = self._over(task)  # first, so that what a job has written before its end is read
        found, task.offset = task.files.read(task.offset, self.results)
        task.ended = next((e for e in found if isinstance(e, Ended)), task.ended)
        events: list[Event] = [e for e in found if not isinstance(e, Ended)]
        if not over and task.ended is None:
            task.late = None
            return [*self._waits(task), *events]
        task.late = now if task.late is None else task.late
        waited = now - task.late > LATE_SECONDS
        if task.ended is not None:
            return [*events, self._close(task, task.ended)] if over or waited else events
        return events + self._lost(task) if waited or self._queue is None else events

    def _waits(self, task: _Task) -> list[Event]:
        """Report a new state of a job in SLURM, such as waiting once more after its time limit."""
        stage = self._state(task).lower() if self._queue is None else self._queue.described(task.number)
        known, task.stage = task.stage, stage
        if stage == known or (not known and task.offset):  # a job that runs already reports itself
            return []
        return [Progress(task.job.name, f"SLURM job {task.number}, {stage}")]

    def _close(self, task: _Task, ended: Ended) -> Ended:
        """Forget a job that has ended, with its files; logs of a failure stay."""
        del self._running[task.job.name]
        task.files.remove()
        paths = task.handle.paths
        for path in (paths.submitted_pickle, paths.result_pickle, *([] if ended.error else [paths.stdout])):
            with suppress(OSError):
                path.unlink()
        return ended

    def _lost(self, task: _Task) -> list[Event]:
        """Decide about a job whose SLURM job has ended without a result."""
        name, state, plan = task.job.name, self._state(task), task.job.plan
        if not missing(plan):  # another command that waited for it too has removed its files
            return [self._close(task, Ended(name, result=result_of(plan, cached=False).as_json()))]
        if state in GOES_ON:
            del self._running[name]
            self._new.append(task)
            return [Note(name, f"{name}: SLURM job {task.number} ended as {state}; it is submitted again to continue")]
        if state == "CANCELLED":
            return [Note(name, f"{name}: SLURM job {task.number} was cancelled"), self._close(task, Ended(name))]
        error: RunError = WorkerLostError(
            f"SLURM job {task.number} ended as {state} without a result",
            where=str(task.handle.paths.stdout),
            do="see that file; if there is none, the nodes do not see the results folder",
        )
        if state == "OUT_OF_MEMORY":
            error = OverMemoryError("SLURM ended it: out of memory", where=name, do="raise resources.memory_gb")
        return [self._close(task, Ended(name, error=error_facts(error)))]
