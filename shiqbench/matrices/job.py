"""Jobs that a matrix gives to an executor, each with one request and its resources; and their outcomes."""

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

    DONE = "done"  # the job trained or evaluated something
    CACHED = "cached"  # everything was done before
    FAILED = "failed"  # error.json of its cell contains the cause, and so does the outcome
    STOPPED = "stopped"  # not run, or not to its end, because the matrix was stopped


@dataclass(frozen=True)
class Slurm:
    """What only SLURM asks of a job.

    Attributes:
        partition: Partition.
        account: Account that is charged.
        qos: Quality of service.
        setup: Shell commands that a node runs before Python starts.
        options: Further options of sbatch: long name -> value; True for an option without a value.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()
    options: dict[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """Resources of one job; an executor starts it only where they are free.

    Attributes:
        cpus: Number of cores.
        gpus: Number of GPUs.
        memory_gb: Memory limit in 10^9 bytes: a job that takes more fails; None sets no limit.
        minutes: Time limit: a job that takes longer fails; None sets no limit. On SLURM, the limit of each SLURM job:
            a cell that takes longer continues in the next one.
        slurm: What only SLURM asks.
        unsaid: Fields that the matrix file does not set, so that they are what this machine has.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    minutes: float | None = None
    slurm: Slurm = field(default_factory=Slurm)
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One cell of a matrix, with its evaluations.

    Attributes:
        name: Readable name, unique within the matrix.
        request: Request, as ``shiqbench run`` makes it.
        resources: Resources of the job.
        sibling: Plan of the same request with any seed, if this process has made one.
    """

    name: str
    request: Request
    resources: Resources = field(default_factory=Resources)
    sibling: RunPlan | None = field(default=None, repr=False, compare=False)

    @cached_property
    def plan(self) -> RunPlan:
        """Plan of the job, made once in each process.

        Raises:
            ConfigError: The request is wrong.
        """
        return self.sibling.with_seed(self.request.seed) if self.sibling else make_plan(self.request)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process: without a plan, because a plan contains classes of plugin files."""
        return {"name": self.name, "request": self.request, "resources": self.resources, "sibling": None}


@dataclass(frozen=True)
class Outcome:
    """Outcome of a job.

    Attributes:
        name: Name of the job.
        state: How the job ended.
        seconds: Duration of the last attempt.
        attempts: Number of attempts; 0 if the job never started.
        result: ``RunResult.as_json()`` if the job succeeded.
        error: ``{"type", "what", "where", "do", "cause"}`` if the job failed.
    """

    name: str
    state: JobState
    seconds: float = 0.0
    attempts: int = 0
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
