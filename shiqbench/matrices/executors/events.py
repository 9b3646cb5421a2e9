"""Events that a worker sends while it works on a job, and the display that sends them."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.progress import Display, Pace
from shiqbench.base.trackers import tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shiqbench.base.trackers import Tracker

EVERY_SECONDS = 0.5  # each job sends at most one progress event in this time


@dataclass(frozen=True)
class Began:
    """A training or an evaluation began; it makes a folder."""

    job: str
    text: str
    folder: str


@dataclass(frozen=True)
class Made:
    """The folder is done."""

    job: str
    folder: str


@dataclass(frozen=True)
class Progress:
    """Progress of a step; zeros and None mean unknown.

    Attributes:
        job: Name of the job.
        stage: Name of the stage.
        done: Units that are done.
        total: Units of the stage.
        loss: Loss of the last update.
        tokens_per_second: Training speed.
        seconds_left: Remaining time of this stage.
    """

    job: str
    stage: str
    done: int = 0
    total: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Ended:
    """A job ended: with a result, with an error, or with neither because it was stopped."""

    job: str
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True)
class Note:
    """A line for the user, which stays on the screen."""

    job: str
    text: str


Event = Began | Made | Progress | Ended | Note


class EventDisplay(Display):
    """Reports progress by events; text goes to the worker's log.

    Args:
        job: Name of the job.
        emit: Receives the events.
        tracker: Name of an experiment tracker, or None.
    """

    def __init__(self, job: str, emit: Callable[[Event], None], tracker: str | None = None) -> None:
        super().__init__(tracker)
        self.job, self.emit = job, emit
        self._told = 0.0
        self._step = ""  # what goes on when a stage has ended

    def say(self, text: str) -> None:
        """Write one line to the log; skip it if the disk is full, which the results report themselves."""
        with suppress(OSError):
            super().say(text)

    @contextmanager
    def step(self, text: str, folder: Path) -> Iterator[None]:
        """Report the start and the end of a step."""
        self.say(text)
        self.emit(Began(self.job, text, str(folder)))
        self._step = text
        yield
        self._step = ""
        self.emit(Made(self.job, str(folder)))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report a stage of unknown length."""
        self.emit(Progress(self.job, name))
        with super().stage(name):
            yield
        self._back()

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Report a stage of known length."""
        started = time.perf_counter()
        self.emit(Progress(self.job, name, 0, total))

        def advance(done: int, total: int) -> None:
            left = (time.perf_counter() - started) / done * (total - done) if done else None
            self._tell(Progress(self.job, name, done, total, seconds_left=left), last=done == total)

        yield advance
        self._back()

    @contextmanager
    def training(self, name: str, folder: Path) -> Iterator[Any]:
        """Report a training."""
        with tracking(self.tracker, name, folder) as tracker:
            yield _Reporter(self, tracker)

    def _back(self) -> None:
        """Report that a stage has ended, and its step goes on."""
        if self._step:
            self.emit(Progress(self.job, self._step))

    def _tell(self, event: Progress, *, last: bool) -> None:
        now = time.perf_counter()
        if last or now - self._told > EVERY_SECONDS:
            self._told = now
            self.emit(event)


class _Reporter:
    def __init__(self, display: EventDisplay, tracker: Tracker | None) -> None:
        self.display, self.tracker, self.pace = display, tracker, Pace()

    def update(self, line: dict[str, Any], total: int) -> None:
        speed, left = self.pace.of(line, total)
        done = line["update"]
        event = Progress(self.display.job, "train", done, total, line["loss"], speed or None, left)
        self.display._tell(event, last=done == total)
        if self.tracker is not None:
            self.tracker.log(line)
