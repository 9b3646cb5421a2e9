"""What a worker tells while it works on a job, and the display that tells it."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.progress import Display, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVERY_SECONDS = 0.5  # of one job, at most one progress event in this time


@dataclass(frozen=True)
class Began:
    """A training or an evaluation began, which makes a folder."""

    job: str
    text: str
    folder: str


@dataclass(frozen=True)
class Made:
    """That folder is done."""

    job: str
    folder: str


@dataclass(frozen=True)
class Progress:
    """How far a step is; zeros and None where that is not known.

    Attributes:
        job: The job's name.
        stage: What is counted.
        done: So many of them.
        total: Of so many.
        loss: Of the last update.
        tokens_per_second: Of training.
        seconds_left: Of this stage.
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
    """A job ended: with a result, with an error, or with neither because it was told to stop."""

    job: str
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None


Event = Began | Made | Progress | Ended


class EventDisplay(Display):
    """Tells of progress by events; what it says in words goes to the worker's log.

    Args:
        job: The job's name.
        emit: Takes the events.
    """

    def __init__(self, job: str, emit: Callable[[Event], None]) -> None:
        super().__init__()
        self.job, self.emit = job, emit
        self._told = 0.0

    def say(self, text: str) -> None:
        """One line of the log, unless its disk is full: results say so themselves."""
        with suppress(OSError):
            super().say(text)

    @contextmanager
    def step(self, text: str, folder: Path) -> Iterator[None]:
        """Tell of its begin and of its end."""
        self.say(text)
        self.emit(Began(self.job, text, str(folder)))
        yield
        self.emit(Made(self.job, str(folder)))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A step of unknown length."""
        self.emit(Progress(self.job, name))
        with super().stage(name):
            yield

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """A step of known length."""
        started = time.perf_counter()
        self.emit(Progress(self.job, name, 0, total))

        def advance(done: int, total: int) -> None:
            left = (time.perf_counter() - started) / done * (total - done) if done else None
            self._tell(Progress(self.job, name, done, total, seconds_left=left), last=done == total)

        yield advance

    @contextmanager
    def training(self, name: str, folder: Path) -> Iterator[Any]:
        """A training run."""
        yield _Reporter(self)

    def _tell(self, event: Progress, *, last: bool) -> None:
        now = time.perf_counter()
        if last or now - self._told > EVERY_SECONDS:
            self._told = now
            self.emit(event)


class _Reporter:
    def __init__(self, display: EventDisplay) -> None:
        self.display, self.pace = display, Pace()

    def update(self, line: dict[str, Any], total: int) -> None:
        speed, left = self.pace.of(line, total)
        done = line["update"]
        event = Progress(self.display.job, "train", done, total, line["loss"], speed or None, left)
        self.display._tell(event, last=done == total)
