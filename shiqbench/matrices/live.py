"""Progress of a running matrix: its state, shown as a table on a terminal and as lines elsewhere."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from shiqbench.base.files import read_json
from shiqbench.base.progress import LINE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

LIVE = ".live"  # below the results folder
SILENT_SECONDS = 60.0  # a matrix on another machine counts as stopped after this time without a write


@dataclass
class Running:
    """A job that runs.

    Attributes:
        name: Name of the job.
        since: Start time, in seconds since 1970.
        stage: Current stage.
        done: Units that are done, out of ``total``.
        total: Units of the stage; 0 if unknown.
        loss: Loss of the last update.
        tokens_per_second: Training speed.
        seconds_left: Remaining time of this stage.
    """

    name: str
    since: float
    stage: str = "starting"
    done: int = 0
    total: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


@dataclass
class MatrixState:
    """A matrix that runs or has run.

    Attributes:
        pid: Process id.
        born: Start time of the process; a later process with the same id has another.
        host: Name of the machine.
        executor: ``local``, ``ray`` or ``slurm``.
        total: Number of jobs.
        counts: State -> number of jobs that ended in it.
        running: Jobs that run.
        started: Start time, in seconds since 1970.
        updated: Time of the last write.
        ended: Whether the matrix has ended.
    """

    pid: int
    born: float
    host: str
    executor: str
    total: int
    counts: dict[str, int] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    ended: bool = False

    @property
    def left(self) -> int:
        """Jobs that have not ended."""
        return self.total - sum(self.counts.values())

    def counted(self) -> str:
        """Return the counts as text."""
        states = ("done", "cached", "failed", "stopped")
        return ", ".join([*(f"{self.counts[s]} {s}" for s in states if self.counts.get(s)), f"{self.left} left"])

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MatrixState:
        """Read the result of :meth:`as_json`."""
        return cls(**{**values, "running": [Running(**r) for r in values["running"]]})


def live_file(results: Path, host: str, pid: int) -> Path:
    """Return the file that a matrix writes its state to."""
    return results / LIVE / f"{host}-{pid}.json"


def states(results: Path) -> list[MatrixState]:
    """Return the state of every matrix of a results folder, the oldest first."""
    found = []
    for path in (results / LIVE).glob("*.json"):
        try:
            found.append(MatrixState.from_json(read_json(path)))
        except FileNotFoundError:  # another matrix has just started and removed it
            continue
    return sorted(found, key=lambda s: s.started)


def runs(state: MatrixState) -> bool:
    """Return whether a matrix runs: its process exists, or, on another machine, has written recently."""
    if state.ended:
        return False
    if state.host != socket.gethostname():
        return time.time() - state.updated < SILENT_SECONDS
    try:
        born: float = psutil.Process(state.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(born - state.born) < 1


def progress_table(state: MatrixState, title: str = "") -> RenderableType:
    """Build a table of the running jobs, with the counts below."""
    from rich.table import Table

    found = Table(title=title or None, title_justify="left", caption=state.counted(), caption_justify="left")
    for name in ("job", "stage"):
        found.add_column(name, overflow="fold")
    for name in ("progress", "loss", "tokens/s", "time", "left"):
        found.add_column(name, justify="right", no_wrap=True)
    for r in state.running:
        found.add_row(
            r.name,
            r.stage,
            f"{r.done}/{r.total}" if r.total else "",
            "" if r.loss is None else f"{r.loss:.4f}",
            "" if r.tokens_per_second is None else f"{r.tokens_per_second:.0f}",
            clock(state.updated - r.since),
            "" if r.seconds_left is None else clock(r.seconds_left),
        )
    return found


def line(state: MatrixState) -> str:
    """Format the state as one line."""
    jobs = []
    for r in state.running:
        parts = [r.stage + (f" {r.done}/{r.total}" if r.total else "")]
        parts += [] if r.loss is None else [f"loss {r.loss:.4f}"]
        parts += [] if r.tokens_per_second is None else [f"{r.tokens_per_second:.0f} tokens/s"]
        parts += [] if r.seconds_left is None else [f"about {clock(r.seconds_left)} left"]
        jobs.append(f"{r.name} ({', '.join(parts)})")
    return f"{state.counted()}; running: {', '.join(jobs) or 'nothing'}"


def clock(seconds: float) -> str:
    """Format a time as minutes and seconds, or as hours, minutes and seconds."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return (f"{hours}:{rest // 60:02d}" if hours else f"{rest // 60}") + f":{rest % 60:02d}"


class View(Protocol):
    """Shows the progress of a matrix."""

    def say(self, text: str) -> None:
        """Print a line that stays on the screen."""

    def update(self, state: MatrixState) -> None:
        """Show the current state; called often."""

    def close(self) -> None:
        """End the display."""


class Lines:
    """Plain lines: messages, and the state every 20 seconds."""

    def __init__(self, console: Console) -> None:
        self.console, self._said = console, time.monotonic()

    def say(self, text: str) -> None:
        """Print a message."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def update(self, state: MatrixState) -> None:
        """Print the state if 20 seconds have passed."""
        if time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self.say(line(state))

    def close(self) -> None:
        """Do nothing: there is no display to remove."""


class LiveTable:
    """A table that is redrawn in place; messages appear above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self.console = console
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def say(self, text: str) -> None:
        """Print a message above the table."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def update(self, state: MatrixState) -> None:
        """Redraw the table."""
        self._live.update(progress_table(state), refresh=True)

    def close(self) -> None:
        """Remove the table."""
        self._live.stop()


def open_view() -> View:
    """Open a view on standard error: a table if that is a terminal, else lines."""
    from rich.console import Console

    console = Console(file=sys.stderr)
    return LiveTable(console) if console.is_terminal else Lines(console)
