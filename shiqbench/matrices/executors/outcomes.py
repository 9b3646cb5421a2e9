"""Outcomes of a matrix as lines and as an exit code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from shiqbench.base.errors import ExitCode
from shiqbench.matrices.job import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.matrices.job import Outcome


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line of counts, with failures by cause, then a line for each failed job."""
    states = Counter(o.state for o in outcomes)
    causes = Counter(o.error["cause"] for o in outcomes if o.state is JobState.FAILED and o.error is not None)
    parts = [f"{states[state]} {state}" for state in JobState if states[state]]
    if causes:
        why = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        parts = [f"{part} ({why})" if part.endswith(JobState.FAILED) else part for part in parts]
    lines = [f"{len(outcomes)} jobs: " + ", ".join(parts)] if outcomes else ["no jobs"]
    return lines + [f"{o.name}: {error_line(o)}" for o in outcomes if o.state is JobState.FAILED]


def error_line(outcome: Outcome) -> str:
    """Return the error of a failed job as one line: what, where, what to do, and the number of attempts."""
    error = outcome.error or {}
    text = error.get("what", "")
    text += f" ({error['where']})" if error.get("where") else ""
    text += f"; {error['do']}" if error.get("do") else ""
    text += f" [{outcome.attempts} attempts]" if outcome.attempts > 1 else ""
    return " ".join(text.split())


def exit_code(outcomes: Sequence[Outcome]) -> ExitCode:
    """Return 1 if a job failed; if jobs were only stopped, the code of an interruption."""
    states = {o.state for o in outcomes}
    if JobState.FAILED in states:
        return ExitCode.FAILED
    return ExitCode.INTERRUPTED if JobState.STOPPED in states else ExitCode.DONE
