"""Runs a job on a node of a SLURM cluster, and reports through files in the results folder.

Such a job ends early at its time limit or when SLURM takes the node away. Then no end is written. The job starts again
with the same files and continues from its checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.causes import as_disk_error, error_facts
from shiqbench.base.digest import digest, short
from shiqbench.base.errors import OverTimeError
from shiqbench.base.files import read_json, write_json
from shiqbench.matrices.executors.events import Began, Ended, Made, Note, Progress
from shiqbench.matrices.executors.limits import Watch
from shiqbench.matrices.executors.logs import log_file, printing_to
from shiqbench.matrices.executors.perform import perform
from shiqbench.matrices.executors.sbatch import FOLDER
from shiqbench.running.runner import steps
from shiqbench.store.cell import DONE
from shiqbench.store.resumable import STATE

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from submitit.core.utils import DelayedSubmission

    from shiqbench.matrices.executors.events import Event
    from shiqbench.matrices.job import Job

EVERY_SECONDS = 2.0  # at most one progress event in this time: the folder is shared by many nodes
MOST_IDLE = 3  # a cell is given up after so many starts in a row that saved nothing
KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Began, Made, Progress, Ended, Note)}


@dataclass(frozen=True)
class JobFiles:
    """Files of one job in the results folder, for every process that works on it or waits for it.

    Attributes:
        results: Results folder.
        key: Names the job and what it has to make.
    """

    results: Path
    key: str

    @classmethod
    def of(cls, job: Job) -> JobFiles:
        """Return the files of a job."""
        made = [str(step.folder.relative_to(job.plan.cell.results)) for step in steps(job.plan)]
        return cls(job.request.results.absolute(), f"{log_file(job).stem}-{short(digest(made))}")

    @property
    def slurm_id(self) -> Path:
        """Contains the id of the SLURM job that runs or will run the job."""
        return self.results / FOLDER / f"{self.key}.id"

    @property
    def events(self) -> Path:
        """Grows by a line for each event."""
        return self.results / FOLDER / f"{self.key}.events"

    @property
    def starts(self) -> Path:
        """Counts the starts, and those in a row that began with nothing new saved."""
        return self.results / FOLDER / f"{self.key}.starts"

    def remove(self) -> None:
        """Remove all of them."""
        for path in (self.slurm_id, self.events, self.starts):
            path.unlink(missing_ok=True)

    def write(self, event: Event) -> None:
        """Append an event. Each write opens the file again, so that other machines see it on a network file system."""
        values = asdict(event)
        if isinstance(event, Began | Made):  # the launcher may know the results folder by another path
            values["folder"] = os.path.relpath(event.folder, self.results)
        line = json.dumps({"kind": type(event).__name__, **values})
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def read(self, offset: int, results: Path) -> tuple[list[Event], int]:
        """Return the events after an offset, and the next offset.

        Args:
            offset: Bytes that were read before.
            results: Results folder, as the reader names it.
        """
        try:
            with self.events.open("rb") as stream:
                stream.seek(offset)
                whole = stream.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return [], offset
        if not whole:
            return [], offset
        return [_event(json.loads(line), results) for line in whole.splitlines()], offset + len(whole) + 1


def _event(values: dict[str, Any], results: Path) -> Event:
    kind = KINDS[values.pop("kind")]
    if "folder" in values:
        values["folder"] = str(results / values["folder"])
    found: Event = kind(**values)
    return found


@dataclass(frozen=True)
class Order:
    """A job for a node.

    Attributes:
        job: The job; its results folder and plugin files are absolute.
        files: Files of the job.
    """

    job: Job
    files: JobFiles


class Work:
    """The function that submitit runs on a node."""

    def __call__(self, order: Order) -> None:
        """Run the job to its end, or until SLURM stops it."""
        from shiqbench.running.workbench import Workbench

        bench = Workbench(lasting=True)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            ended = _ended(order, _Emitter(order.files), bench)
        finally:
            bench.close()
            signal.signal(signal.SIGTERM, before)
        if ended.result is None and ended.error is None:
            sys.exit("stopped by SLURM")  # submitit then writes no result, because the job may start again
        order.files.write(ended)

    def checkpoint(self, order: Order) -> DelayedSubmission:
        """Continue in another run of the same SLURM job; submitit asks for this shortly before the time limit."""
        from submitit.core.utils import DelayedSubmission

        _ignore()
        return DelayedSubmission(self, order)


def _ended(order: Order, emit: _Emitter, bench: Any) -> Ended:
    job = order.job
    log = log_file(job)
    try:
        with printing_to(log):
            given_up = _count_start(order, emit)
            if given_up is not None:
                return Ended(job.name, error=error_facts(given_up))
            limits = replace(job, resources=replace(job.resources, minutes=None))  # SLURM itself limits the time
            with Watch(limits, emit):
                return perform(job, emit, bench)
    except OSError as error:  # the log or the file of events cannot be written
        return Ended(job.name, error=error_facts(as_disk_error(error, log)))


class _Emitter:
    """Writes events; progress not too often."""

    def __init__(self, files: JobFiles) -> None:
        self.files, self._told = files, 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Progress):
            if event.done != event.total and now - self._told < EVERY_SECONDS:
                return
            self._told = now
        with suppress(OSError):  # a full disk; the results report it themselves
            self.files.write(event)


def _count_start(order: Order, emit: _Emitter) -> OverTimeError | None:
    """Count this start; return an error if the starts before it ended again and again without saving anything."""
    saved, path = _saved(order.job), order.files.starts
    before: dict[str, Any] = read_json(path) if path.exists() else {"count": 0, "idle": 0, "saved": None}
    idle = before["idle"] + 1 if before["saved"] == saved else 0
    write_json(path, {"count": before["count"] + 1, "idle": idle, "saved": saved})
    name = order.job.name
    if idle >= MOST_IDLE:
        return OverTimeError(
            f"{MOST_IDLE} starts in a row ended before anything new was saved",
            where=name,
            do="raise resources.minutes, or save more often (train.save_every)",
        )
    if before["count"]:
        emit(Note(name, f"{name} continues from what it has saved (start {before['count'] + 1})"))
    return None


def _saved(job: Job) -> list[list[Any]]:
    """Return what tells apart two states of everything that a job has saved."""
    from shiqbench.running.evaluation import JOURNAL

    try:
        folders = [step.folder for step in steps(job.plan)]
    except Exception:  # a wrong request, which running it reports
        return []
    paths = [folder / name for folder in folders for name in (STATE, JOURNAL, DONE)]
    return [[str(p), s.st_mtime_ns, s.st_size] for p in paths if p.exists() and (s := p.stat())]


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave the cell as Ctrl-C leaves it."""
    _ignore()
    raise KeyboardInterrupt


def _ignore() -> None:
    """Let no further signal disturb the end."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
