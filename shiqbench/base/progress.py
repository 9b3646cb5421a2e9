"""Progress for the user: bars on a terminal, plain lines in a log, always on standard error.

On a terminal there is one display at a time; a step inside another step is a further line of it.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from shiqbench.base.durations import last_time, remember
from shiqbench.base.trackers import tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from shiqbench.base.trackers import Tracker

T = TypeVar("T")
LINE_SECONDS = 20.0  # without a terminal, at most one progress line in this interval
LONG = 2.0  # seconds; the time of shorter steps is not worth a line
_open: list[Progress] = []  # the display that is on the terminal now, if any
_listening: list[Display] = []  # the display that gets the steps of this process's job, if there is one


class Display:
    """Progress of one run.

    Args:
        tracker: Name of an experiment tracker, or None.
        quiet: Show only warnings.
    """

    def __init__(self, tracker: str | None = None, *, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet, highlight=False)
        self.tracker = tracker

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, text: str, folder: Path) -> Iterator[None]:
        """Report the start of a training or an evaluation, which writes ``folder``."""
        self.say(text)
        yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a step of unknown length and report its time at the end."""
        started = time.perf_counter()
        with _clock(self.console, name):
            yield
        self.say(f"{name}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show a step of known length, with its rate and the time left; yields ``advance(done, total)``."""
        with _bar(self.console, self.say, name, total) as advance:
            yield advance

    @contextmanager
    def training(self, name: str, folder: Path) -> Iterator[TrainingReporter]:
        """Show a training run (loss, return, tokens per second, time left) and log to the tracker, if any."""
        with tracking(self.tracker, name, folder) as tracker, _display(self.console) as progress:
            reporter = TrainingReporter(self, progress, name, tracker)
            try:
                yield reporter
            finally:
                progress.remove_task(reporter.task)


@contextmanager
def waiting(name: str) -> Iterator[None]:
    """Show a step of unknown length; its time is said at the end if it was long, and shown at the next time."""
    console, started, before = _console(), time.perf_counter(), last_time(name)
    hint = f", {before:.0f} s the last time" if before is not None else ""
    with _listening[-1].stage(name) if _listening else _clock(console, name + hint):
        yield
    seconds = time.perf_counter() - started
    if seconds > LONG:
        remember(name, seconds)
    if seconds > LONG and not _listening:
        console.print(f"{name}: {seconds:.1f} s", soft_wrap=True, markup=False)


def counting(items: Iterable[T], name: str, total: int) -> Iterator[T]:
    """Pass items on, and show how many are done, their rate and the time left."""
    console = _console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    with _listening[-1].bar(name, total) if _listening else _bar(console, say, name, total) as advance:
        for done, item in enumerate(items):
            advance(done, total)
            yield item
        advance(total, total)


@contextmanager
def listening(display: Display) -> Iterator[None]:
    """Let a display get the steps that :func:`waiting` and :func:`counting` show, wherever they are."""
    _listening.append(display)
    try:
        yield
    finally:
        _listening.pop()


def _console() -> Console:
    return _open[-1].console if _open else Console(file=sys.stderr, highlight=False)


@contextmanager
def _display(console: Console) -> Iterator[Progress]:
    if _open:
        yield _open[-1]
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        _open.append(progress)
        try:
            yield progress
        finally:
            _open.pop()


@contextmanager
def _clock(console: Console, name: str) -> Iterator[None]:
    with _display(console) as progress:
        task = progress.add_task(name, total=None, note="")
        try:
            yield
        finally:
            progress.remove_task(task)


@contextmanager
def _bar(console: Console, say: Callable[[str], None], name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    with _display(console) as progress:
        task, rate = progress.add_task(name, total=total, note=""), Rate()
        said = time.perf_counter()

        def advance(done: int, total: int) -> None:
            nonlocal said
            speed, left = rate.of(done, total, time.perf_counter())
            progress.update(task, completed=done, total=total, note=speed)
            if not console.is_terminal and time.perf_counter() - said > LINE_SECONDS:
                said = time.perf_counter()
                say(", ".join(filter(None, (f"{name}: {done}/{total}", speed, left))))

        try:
            yield advance
        finally:
            progress.remove_task(task)


class Rate:
    """Rate of a step and the time left, from its first report on: a continued step begins with what was done before."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None

    def of(self, done: int, total: int, now: float) -> tuple[str, str]:
        """Return both as text, such as ``2.5/s`` and ``about 8 s left``; empty while they are unknown."""
        if self.first is None:
            self.first = done, now
        before, since = self.first
        if done <= before or now <= since:
            return "", ""
        each = (now - since) / (done - before)
        return f"{1 / each:.1f}/s" if each <= 1 else f"{each:.1f} s each", f"about {each * (total - done):.0f} s left"


class Pace:
    """Speed of a training, computed from the lines of its log."""

    def __init__(self) -> None:
        self.tokens = self.updates = 0

    def of(self, line: dict[str, Any], total: int) -> tuple[float, float]:
        """Return tokens per second (0 at the first line) and seconds left; ``seconds`` counts from the line before."""
        speed = (line["tokens"] - self.tokens) / line["seconds"] if self.tokens and line["seconds"] else 0.0
        each = line["seconds"] / max(1, line["update"] - self.updates) if self.updates else line["seconds"]
        self.tokens, self.updates = line["tokens"], line["update"]
        return speed, (total - line["update"]) * each


class TrainingReporter:
    """Shows one training run, line by line of its log."""

    def __init__(self, display: Display, progress: Progress, name: str, tracker: Tracker | None) -> None:
        self.display, self.progress, self.name, self.tracker = display, progress, name, tracker
        self.task = progress.add_task(name, total=None, note="")
        self.said = 0.0
        self.pace = Pace()

    def update(self, line: dict[str, Any], total: int) -> None:
        """Show one line: one or more updates since the previous line; ``seconds`` is their total time."""
        speed, left = self.pace.of(line, total)
        note = f"loss {line['loss']:.4f}  return {line['return']:+.3f}"
        note += f"  {speed:.0f} tok/s" if speed else ""
        self.progress.update(self.task, completed=line["update"], total=total, note=note)
        if not self.display.console.is_terminal and (
            time.perf_counter() - self.said > LINE_SECONDS or line["update"] == total
        ):
            self.said = time.perf_counter()
            self.display.say(f"{self.name}: update {line['update']}/{total}  {note}  about {left:.0f} s left")
        if self.tracker is not None:
            self.tracker.log(line)
