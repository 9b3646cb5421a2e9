"""How a running matrix stands: what is known of it, as a table on a terminal and as lines elsewhere."""

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
SILENT_SECONDS = 60.0  # a matrix of another machine that has written nothing for so long is taken to be stopped


@dataclass
class Running:
    """A job that runs.

    Attributes:
        name: Its name.
        since: When it was started, in seconds since 1970.
        stage: What it is at.
        done: Of ``total``, where that is known.
        total: 0 where it is not.
        loss: Of the last update.
        tokens_per_second: Of training.
        seconds_left: Of this stage.
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
    """A matrix that runs, or has run.

    Attributes:
        pid: Its process.
        born: When that process was started, so that another of the same number is not taken for it.
        host: Its machine.
        executor: ``local`` or ``ray``.
        total: Jobs.
        counts: State -> jobs that ended so.
        running: Jobs that run.
        started: In seconds since 1970.
        updated: When this was written.
        ended: Nothing runs any more.
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
        """Counts in words."""
        states = ("done", "cached", "failed", "stopped")
        return ", ".join([*(f"{self.counts[s]} {s}" for s in states if self.counts.get(s)), f"{self.left} left"])

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MatrixState:
        """What :meth:`as_json` gave."""
        return cls(**{**values, "running": [Running(**r) for r in values["running"]]})


def live_file(results: Path, host: str, pid: int) -> Path:
    """Where a matrix writes how it stands."""
    return results / LIVE / f"{host}-{pid}.json"


def states(results: Path) -> list[MatrixState]:
    """Every matrix that has written into a results folder, the oldest first."""
    found = []
    for path in (results / LIVE).glob("*.json"):
        try:
            found.append(MatrixState.from_json(read_json(path)))
        except FileNotFoundError:  # removed by a matrix that begins
            continue
    return sorted(found, key=lambda s: s.started)


def runs(state: MatrixState) -> bool:
    """Whether that matrix is alive: its process is there, or, on another machine, has written lately."""
    if state.ended:
        return False
    if state.host != socket.gethostname():
        return time.time() - state.updated < SILENT_SECONDS
    try:
        born: float = psutil.Process(state.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(born - state.born) < 1


def table(state: MatrixState, title: str = "") -> RenderableType:
    """Running jobs, with the counts below."""
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
    """The same in one line."""
    jobs = []
    for r in state.running:
        parts = [r.stage + (f" {r.done}/{r.total}" if r.total else "")]
        parts += [] if r.loss is None else [f"loss {r.loss:.4f}"]
        parts += [] if r.tokens_per_second is None else [f"{r.tokens_per_second:.0f} tokens/s"]
        parts += [] if r.seconds_left is None else [f"about {clock(r.seconds_left)} left"]
        jobs.append(f"{r.name} ({', '.join(parts)})")
    return f"{state.counted()}; running: {', '.join(jobs) or 'nothing'}"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes and seconds."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return (f"{hours}:{rest // 60:02d}" if hours else f"{rest // 60}") + f":{rest % 60:02d}"


class View(Protocol):
    """Shows how a matrix stands."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def update(self, state: MatrixState) -> None:
        """How it stands now; called often."""

    def close(self) -> None:
        """Nothing more will be shown."""


class Lines:
    """Plain lines: what is said, and every 20 seconds how it stands."""

    def __init__(self, console: Console) -> None:
        self.console, self._said = console, time.monotonic()

    def say(self, text: str) -> None:
        """Print it."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def update(self, state: MatrixState) -> None:
        """Print it where that is due."""
        if time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self.say(line(state))

    def close(self) -> None:
        """Nothing is to be tidied."""


class LiveTable:
    """A table that is drawn anew in place; what is said stands above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self.console = console
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def say(self, text: str) -> None:
        """Print it above the table."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def update(self, state: MatrixState) -> None:
        """Draw it."""
        self._live.update(table(state), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def open_view() -> View:
    """On standard error: a table where that is a terminal, else lines."""
    from rich.console import Console

    console = Console(file=sys.stderr)
    return LiveTable(console) if console.is_terminal else Lines(console)
