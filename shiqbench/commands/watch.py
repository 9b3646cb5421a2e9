"""``shiqbench watch``: the state of the matrices in a results folder, from files that they update every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shiqbench.matrices.live import line, progress_table, runs, states

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

    from shiqbench.matrices.live import MatrixState

LOOK_SECONDS = 1.0


def title(state: MatrixState) -> str:
    """Name the matrix, and say whether it runs."""
    how = (
        "runs"
        if runs(state)
        else "ended"
        if state.ended
        else "stopped before its end; run the same command again to continue"
    )
    return f"matrix of process {state.pid} on {state.host} ({state.executor}): {how}"


def shown(state: MatrixState) -> RenderableType:
    """Render one matrix: a table while it runs, only its counts otherwise."""
    if runs(state):
        return progress_table(state, title(state))
    return f"{title(state)}; {state.counted()}"


def watch(results: Path, console: Console, *, once: bool = False) -> None:
    """Show the matrices of a results folder until none runs.

    Args:
        results: Results folder.
        console: A terminal shows tables that are redrawn in place; any other output gets lines.
        once: Show the current state once, and return.
    """
    found = states(results)
    if not found:
        console.print(f"no matrix has run in {results}", soft_wrap=True, markup=False, highlight=False)
        return
    if once or not any(map(runs, found)):
        for state in found:
            console.print(shown(state), soft_wrap=True, markup=False, highlight=False)
        return
    if console.is_terminal:
        _in_place(results, console)
        return
    while any(map(runs, found := states(results))):
        for state in filter(runs, found):
            console.print(f"{state.pid}: {line(state)}", soft_wrap=True, markup=False, highlight=False)
        time.sleep(20 * LOOK_SECONDS)
    watch(results, console, once=True)


def _in_place(results: Path, console: Console) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = states(results)
            live.update(Group(*map(shown, found)), refresh=True)
            if not any(map(runs, found)):
                return
            time.sleep(LOOK_SECONDS)
