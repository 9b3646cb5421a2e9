"""Tables on a terminal: every cell is whole, and what does not fit is named."""

from __future__ import annotations

import fcntl
import io
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
from rich.console import Console

from shiqbench.commands.terminal import FittingMarkdown
from shiqbench.report import make_report
from shiqbench.report.formats import render

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    evaluation(cell(folder, "base"), [1.0, 0.9] * 6, metrics={"objective": 0.1})
    for beta in (0.125, 0.25):
        for seed in range(3):
            of = cell(folder, "dpo", seed, config={"beta": beta})
            evaluation(of, [0.2 + beta, 0.4 + 0.01 * seed] * 6, metrics={"objective": 0.2})
    return folder


def shown(text: str, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(FittingMarkdown(text))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 110, 140, 400])
def test_names_values_differences_and_p_are_whole(results: Path, width: int) -> None:
    report = make_report(results, baseline="base")
    lines = shown(render(report, "markdown"), width)
    text = "\n".join(lines)
    assert "…" not in text
    assert max(map(len, lines)) <= width
    (block,) = report.blocks
    words = text.split()
    for row in block.rows:
        assert f"{row.estimate.value:.3f}" in words
    assert {"beta=0.125", "beta=0.25", "relative_regret", "less", "(Holm)"} <= set(words)
    for d in filter(None, (row.difference for row in block.rows)):
        assert f"{d.estimate.value:.3f}" in words
        assert f"[{d.estimate.low:.3f}, {d.estimate.high:.3f}]" in text
    more = re.search(r"(\d+) more columns: ([^;]+); a wider terminal or a pipe shows them", " ".join(words))
    assert (more is None) is (width == 400)
    if more is not None:
        assert int(more[1]) == len(more[2].split(", "))
        assert more[2].endswith("eval s")


def test_long_texts_are_broken_not_cut() -> None:
    label = "prompt=" + "very long words " * 12
    lines = shown(f"| algorithm | differs in | value [95 %] |\n|---|---|---|\n| dpo | {label} | 0.1 [0.0, 0.2] |\n", 60)
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).count("very") == 12
    assert "0.1 [0.0, 0.2]" in " ".join(lines)


def test_a_terminal_narrower_than_the_names_says_what_is_missing() -> None:
    text = "| algorithm | value [95 %] | steps |\n|---|---|---|\n| dpo | 0.123 [0.100, 0.200] | 3 |\n"
    assert "2 more columns: value [95 %], steps" in " ".join(" ".join(shown(text, 20)).split())


def test_the_command_fits_the_terminal_that_it_runs_in(results: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "shiqbench", "report", str(results), "--baseline", "base"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as running:
        os.close(theirs)
        said = b""
        while part := _read(ours):
            said += part
        assert running.wait(120) == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.decode())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "more columns: " in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""
