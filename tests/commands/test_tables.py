"""``list``, ``show`` and ``doctor``: aligned tables on a terminal, plain lines in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from made_up import cell, evaluation
from support import ask

COMMAND = (sys.executable, "-m", "shiqbench")


def seen(*words: str, width: int, cwd: Path) -> list[str]:
    """What a terminal of this width shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")} | {"TERM": "xterm"}
    done = subprocess.Popen([*COMMAND, *words], stdout=theirs, stderr=theirs, stdin=theirs, env=env, cwd=cwd)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:  # the terminal is closed when the command has ended
        pass
    os.close(ours)
    assert done.wait() == 0
    left = [line.rpartition("\x1b[2K")[2] for line in text.decode().split("\r\n")]  # bars erase the line they are on
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).lstrip("\r").rstrip() for line in left]


def column(lines: list[str], heading: str) -> int:
    return next(line.index(heading) for line in lines if heading in line)


@pytest.mark.parametrize("width", [80, 140])
def test_a_list_is_aligned_and_fits(tmp_path: Path, width: int) -> None:
    lines = seen("list", width=width, cwd=tmp_path)
    assert max(map(len, lines)) <= width
    assert {"algorithms", "tasks", "engines", "rewards", "plugins"} <= set(lines)
    at = column(lines, "summary")
    (dpo,) = [line for line in lines if line.startswith("dpo ")]
    assert dpo[at - 1 : at + 6] == " direct"


@pytest.mark.parametrize("width", [80, 140])
def test_settings_are_written_as_set_takes_them(tmp_path: Path, width: int) -> None:
    lines = seen("show", "mdp", width=width, cwd=tmp_path)
    assert max(map(len, lines)) <= width
    (grid,) = [line for line in lines if line.startswith("task.gamma ")]
    assert grid[column(lines, "default") :].startswith("1.0")
    assert any(re.match(r" +cpu +smoke +full", line) for line in lines)


def test_a_cell_is_shown_with_its_evaluations(tmp_path: Path) -> None:
    folder = cell(tmp_path / "results", "dpo", 0)
    evaluation(folder, [0.5] * 12)
    lines = seen("show", str(folder), width=100, cwd=tmp_path)
    assert any(line.startswith("algorithm.name ") and line.endswith("dpo") for line in lines)


def test_a_pipe_gets_lines(tmp_path: Path) -> None:
    assert "  base  1  the model as it is, without training  shiqbench" in ask("list").stdout.splitlines()
    assert "\n  gamma: float = 1.0  (discount per step)\n" in ask("show", "mdp").stdout


@pytest.mark.slow
def test_doctor_says_each_finding_in_one_line(tmp_path: Path) -> None:
    lines = ask("doctor", cwd=tmp_path).stdout.splitlines()
    assert all(re.match(r"(ok|warning|problem)  [^:]+: .", line) for line in lines)
    table = seen("doctor", width=90, cwd=tmp_path)
    assert max(map(len, table)) <= 90
    assert column(table, "found") < column(table, "do")
