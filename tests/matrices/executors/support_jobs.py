"""Jobs for the tests of executors: tiny MDPs, and a view that records its calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import TOY

from shiqbench.commands.common import parse_assignments
from shiqbench.matrices.job import Job, Outcome, Resources
from shiqbench.matrices.live import MatrixState
from shiqbench.planning.plan import Request

ROGUE = TOY.parent / "rogue.py"
TINY = {"task.mdp": "chain", "task.seeds": 2, "train.updates": 20, "train.save_every": 5, "train.log_every": 1}


def job(results: Path, name: str = "job", *assignments: str, seed: int = 0, **resources: Any) -> Job:
    """Return a job that trains 20 updates on two tiny MDPs."""
    settings = {**TINY, **parse_assignments(assignments)}
    request = Request("rogue", "mdp", seed=seed, preset="smoke", settings=settings, plugins=(ROGUE,), results=results)
    return Job(name, request, Resources(**resources))


class Memory:
    """A view that records everything."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.running: list[list[str]] = []
        self.closed = False

    def say(self, text: str) -> None:
        self.said.append(text)

    def update(self, state: MatrixState) -> None:
        self.running.append([r.name for r in state.running])

    def close(self) -> None:
        self.closed = True


def by_name(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return {o.name: o for o in outcomes}


def cause(outcome: Outcome) -> str | None:
    return outcome.error["cause"] if outcome.error else None


__all__ = ["ROGUE", "TINY", "Memory", "by_name", "cause", "job"]
