"""Display of a running matrix: state, table, lines, and ``shiqbench watch`` in another process."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from support import ask

from shiqbench.base.files import read_json, write_json
from shiqbench.commands.watch import watch
from shiqbench.matrices import live
from shiqbench.matrices.executors.board import Board
from shiqbench.matrices.executors.events import Began, Made, Progress
from shiqbench.matrices.executors.outcomes import exit_code, summary
from shiqbench.matrices.job import JobState, Outcome
from shiqbench.matrices.live import Lines, MatrixState, Running, live_file


def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def text(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def state(pid: int | None = None, **values: object) -> MatrixState:
    process = psutil.Process(pid)
    running = [Running("shiq-1", time.time() - 65, "train", 120, 300, 0.25, 370.4, 90.0)]
    values = {"running": running, "counts": {"done": 2, "failed": 1}, **values}
    return MatrixState(process.pid, process.create_time(), socket.gethostname(), "local", 5, **values)  # type: ignore[arg-type]


def write(results: Path, found: MatrixState) -> None:
    write_json(live_file(results, found.host, found.pid), found.as_json())


def test_events_become_an_account_that_others_can_read(tmp_path: Path) -> None:
    found = console()
    with Board(tmp_path, "local", 3, Lines(found)) as board:
        board.count(Outcome("old", JobState.CACHED))
        board.started("new")
        board.take(Began("new", "train shiq/abc", "f"))
        board.take(Progress("new", "train", 3, 10, 0.5, 12.0, 7.0))
        board.tick()
        (path,) = (tmp_path / ".live").iterdir()
        seen = MatrixState.from_json(read_json(path))
        assert [(r.stage, r.done, r.total, r.loss) for r in seen.running] == [("train", 3, 10, 0.5)]
        assert (seen.left, seen.counted()) == (2, "1 cached, 2 left")
        assert live.runs(seen)
        board.take(Made("new", "f"))
        board.ended("new")
        board.count(Outcome("new", JobState.DONE, 61.0, 1))
        error = {"type": "E", "what": "it broke", "where": "here", "do": "mend it", "cause": "other"}
        board.count(Outcome("bad", JobState.FAILED, 1.0, 2, error=error))
    last = MatrixState.from_json(read_json(path))
    assert (last.ended, last.running, last.left) == (True, [], 0)
    assert text(found).splitlines() == ["2/3 done new 1:01", "3/3 failed bad: it broke (here); mend it [2 attempts]"]


def test_a_board_removes_what_dead_matrices_have_left(tmp_path: Path) -> None:
    write(tmp_path, state(ended=True, pid=os.getppid()))
    Board(tmp_path, "local", 1, Lines(console()))
    assert list((tmp_path / ".live").iterdir()) == []


def test_the_table_and_the_line_hold_the_same() -> None:
    found = console()
    found.print(live.progress_table(state()))
    for part in ("shiq-1", "120/300", "0.2500", "370", "1:05", "1:30", "2 done, 1 failed, 2 left"):
        assert part in text(found)
    said = "2 done, 1 failed, 2 left; running: shiq-1 (train 120/300, loss 0.2500, 370 tokens/s, about 1:30 left)"
    assert live.line(state()) == said


def test_lines_come_every_twenty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0, 101.0, 119.0, 120.5, 121.0, 141.0]
    now = times[0]
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found = console()
    lines = Lines(found)
    for i in range(1, len(times)):
        now = times[i]
        lines.update(state())
    assert text(found).count("running: shiq-1") == 2


@pytest.mark.parametrize(("seconds", "said"), [(0, "0:00"), (61, "1:01"), (3661.9, "1:01:01"), (-3, "0:00")])
def test_a_clock(seconds: float, said: str) -> None:
    assert live.clock(seconds) == said


def test_a_dead_process_is_not_shown_as_running(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    write(tmp_path, state(dead.pid))
    dead.kill()
    dead.wait()
    found = console()
    watch(tmp_path, found)
    assert "stopped before its end" in text(found)
    assert "shiq-1" not in text(found)
    assert "2 done, 1 failed, 2 left" in text(found)


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    assert live.runs(state())
    assert not live.runs(MatrixState(**{**state().__dict__, "born": 1.0}))


def test_a_matrix_of_another_machine_lives_while_it_writes() -> None:
    here = state().__dict__
    assert live.runs(MatrixState(**{**here, "host": "elsewhere"}))
    assert not live.runs(MatrixState(**{**here, "host": "elsewhere", "updated": time.time() - 120}))


def test_watch_once_and_watch_to_the_end(tmp_path: Path) -> None:
    assert "no matrix has run in" in ask("watch", tmp_path).stdout
    write(tmp_path, state())
    assert "shiq-1" in ask("watch", tmp_path, "--once").stdout
    write(tmp_path, state(ended=True, running=[]))
    assert "ended" in ask("watch", tmp_path).stdout


def test_summaries() -> None:
    assert summary([]) == ["no jobs"]
    stopped = [Outcome("a", JobState.DONE), Outcome("b", JobState.STOPPED)]
    assert summary(stopped) == ["2 jobs: 1 done, 1 stopped"]
    assert exit_code(stopped) == 130
    assert exit_code(stopped[:1]) == 0
