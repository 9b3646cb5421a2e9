"""``shiqbench matrix``: run the missing cells of a planned matrix and return the outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import RunError
from shiqbench.matrices.job import JobState
from shiqbench.matrices.tuning import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.matrices.job import Job, Outcome
    from shiqbench.matrices.plan import MatrixPlan

    Run = Callable[[Sequence[Job]], list[Outcome]]

ENDED_WELL = (JobState.DONE, JobState.CACHED)


@dataclass(frozen=True)
class MatrixResult:
    """Result of a matrix.

    Attributes:
        trials: Outcomes of the trials of tuning.
        cells: Outcomes of the final cells; empty if tuning was stopped.
    """

    trials: list[Outcome]
    cells: list[Outcome]

    @property
    def outcomes(self) -> list[Outcome]:
        """Outcomes of trials and cells."""
        return [*self.trials, *self.cells]

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"trials": [_json(o) for o in self.trials], "cells": [_json(o) for o in self.cells]}


def executing(**options: Any) -> Run:
    """Return an executor with its options; it is imported at its first use."""

    def run(jobs: Sequence[Job]) -> list[Outcome]:
        from shiqbench.matrices.executors import execute

        return execute(jobs, **options)

    return run


def _json(outcome: Outcome) -> dict[str, Any]:
    return {**outcome.__dict__, "state": str(outcome.state)}


def carry_out(matrix: MatrixPlan, run: Run, say: Callable[[str], None]) -> MatrixResult:
    """Run the trials first, if there is tuning, then the cells.

    Args:
        matrix: Planned matrix.
        run: Executor.
        say: Receives the settings that tuning chose.

    Raises:
        RunError: A trial failed. Then nothing is chosen, because the other algorithms had more trials.
    """
    if not matrix.tuning:
        return MatrixResult([], run(matrix.final.jobs))
    trials = run(matrix.trial_stage.jobs)
    if bad := [o for o in trials if o.state not in ENDED_WELL]:
        if any(o.state is JobState.STOPPED for o in bad):
            return MatrixResult(trials, [])
        raise RunError(
            f"{len(bad)} of {len(trials)} trials failed, {bad[0].name} first: {(bad[0].error or {}).get('what', '')}",
            where=matrix.expansion.where,
            do="fix the cause, or change the grid; the same command continues",
        )
    chosen = choose(matrix.tuning, matrix.trial_stage.planned, matrix.results)
    for each in matrix.tuning:
        under = "".join(f", {k} = {v}" for k, v in each.under.items())
        settings = ", ".join(f"{k} = {v}" for k, v in chosen[each.of].items())
        say(f"tuned {each.of.algorithm} on {each.of.task}{under}: {settings}")
    return MatrixResult(trials, run(matrix.final_stage(chosen).jobs))
