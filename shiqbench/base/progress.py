"""Progress for the user: bars on a terminal, plain lines in a log, always on standard error."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE_SECONDS = 20.0  # without a terminal, at most one progress line in this interval


class Display:
    """Progress of one run.

    Args:
        tracker: Name of an experiment tracker that accelerate supports, or None.
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
        yield
        self.say(f"{name}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show a step of known length; yields ``advance(done, total)``."""
        with self._progress() as progress:
            task = progress.add_task(name, total=total, note="")
            said = time.perf_counter()

            def advance(done: int, total: int) -> None:
                nonlocal said
                progress.update(task, completed=done, total=total)
                if not self.console.is_terminal and time.perf_counter() - said > LINE_SECONDS:
                    said = time.perf_counter()
                    self.say(f"{name}: {done}/{total}")

            yield advance

    @contextmanager
    def training(self, name: str, folder: Path) -> Iterator[TrainingReporter]:
        """Show a training run (loss, return, tokens per second, time left) and log to the tracker, if any."""
        with self._progress() as progress:
            reporter = TrainingReporter(self, progress, name, _tracker(self.tracker, name, folder))
            try:
                yield reporter
            finally:
                reporter.close()

    def _progress(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


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

    def __init__(self, display: Display, progress: Progress, name: str, tracker: Any) -> None:
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
            values = {k: v for k, v in line.items() if isinstance(v, (int, float)) and k != "update"}
            self.tracker.log(values, step=line["update"])

    def close(self) -> None:
        """Flush the tracker."""
        if self.tracker is not None:
            for each in self.tracker.trackers:  # `end_training` would also leave the process group
                each.finish()


def _tracker(kind: str | None, name: str, folder: Path) -> Any:
    """Start one of accelerate's trackers, which writes below the cell's folder."""
    if kind is None:
        return None
    import torch
    from accelerate import Accelerator

    # The first accelerator sets the device for all others in this process, also for the trainer's.
    on_cpu = not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpu, log_with=kind, project_dir=str(folder / "tracker"))
    accelerator.init_trackers("shiqbench", init_kwargs={kind: {"name": name}} if kind == "wandb" else {})
    return accelerator
