"""What a check found: its severity, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class State(StrEnum):
    """Severity of a finding."""

    OK = "ok"  # nothing to do
    WARNING = "warning"  # works, but could be better
    PROBLEM = "problem"  # some command will fail until this is fixed


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: Name of the check or of the thing that was checked.
        state: Severity.
        text: What the check found.
        do: How to fix it; empty if nothing is to be fixed.
    """

    name: str
    state: State
    text: str
    do: str = ""


def worst(findings: Iterable[Finding]) -> State:
    """The most severe state among findings."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.PROBLEM, State.WARNING) if state in states), State.OK)
