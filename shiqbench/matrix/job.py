"""What a matrix asks an executor to do: one request each, with what it needs; and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shiqbench.planning.make import make_plan

if TYPE_CHECKING:
    from shiqbench.planning.plan import Request, RunPlan


class JobState(StrEnum):
    """How a job ended."""

    DONE = "done"  # something was trained or evaluated
    CACHED = "cached"  # everything was there before
    FAILED = "failed"  # error.json of its cell says why, and so does the outcome
    STOPPED = "stopped"  # not run, or not to its end, because the matrix was stopped


@dataclass(frozen=True)
class Resources:
    """What one job needs; an executor places it only where that is free.

    Attributes:
        cpus: Cores.
        gpus: GPUs.
        memory_gb: The job fails when it takes more; None sets no limit.
        minutes: The job fails when it takes longer; None sets no limit.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Job:
    """One cell of a matrix, with its evaluations.

    Attributes:
        name: Unique within the matrix, readable.
        request: What ``shiqbench run`` would be asked.
        resources: What it needs.
        sibling: A plan of the same request with any seed, where this process has made one.
    """

    name: str
    request: Request
    resources: Resources = field(default_factory=Resources)
    sibling: RunPlan | None = field(default=None, repr=False, compare=False)

    @cached_property
    def plan(self) -> RunPlan:
        """Made once in each process.

        Raises:
            ConfigError: The request is wrong.
        """
        return self.sibling.with_seed(self.request.seed) if self.sibling else make_plan(self.request)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: no plan, since it holds classes of plugin files."""
        return {"name": self.name, "request": self.request, "resources": self.resources, "sibling": None}


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        name: The job's.
        state: How it ended.
        seconds: Of the last attempt.
        attempts: How many there were; 0 for one that never began.
        result: ``RunResult.as_json()`` where it ended well.
        error: ``{"type", "what", "where", "do", "cause"}`` where it failed.
    """

    name: str
    state: JobState
    seconds: float = 0.0
    attempts: int = 0
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
