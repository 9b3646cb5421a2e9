"""What jobs ask of SLURM: the parameters that submitit takes, and the lines of sbatch that it writes from them."""

from __future__ import annotations

import sys
from math import ceil
from shlex import quote
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shiqbench.matrices.job import Job, Resources

FOLDER = ".slurm"  # below the results folder
MOST_CELLS = 1000  # of one array; SLURM allows 1001 unless a cluster says otherwise
WARNING_SECONDS = 90  # before the time limit, a cell is told to stop and continue in the next SLURM job


def submitit() -> Any:
    """Return the package submitit.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import submitit as found
    except ImportError as error:
        raise MissingDependencyError(
            "submitit is not installed", where="--executor slurm", do="pip install 'shiqbench[slurm]'"
        ) from error
    return found


def refusal(needs: Resources) -> str | None:
    """Describe what SLURM can never be asked for; None if it can."""
    if needs.unsaid:
        return f"{' and '.join(needs.unsaid)} not set, and those of this machine say nothing about a node"
    if needs.minutes is None:
        return (
            "minutes not set, and SLURM needs a time limit (a cell that takes longer continues in its next SLURM job)"
        )
    if needs.gpus != int(needs.gpus):
        return f"gpus = {needs.gpus:g}, but SLURM gives whole GPUs"
    return None


def parameters(needs: Resources) -> dict[str, Any]:
    """Return the parameters of submitit's SlurmExecutor for a job."""
    assert needs.minutes is not None
    cpus, asked = ceil(needs.cpus), needs.slurm
    return {
        "job_name": "shiqbench",
        "time": ceil(needs.minutes),
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 srun does not take it from sbatch
        "gpus_per_node": int(needs.gpus) or None,
        "mem": None if needs.memory_gb is None else f"{ceil(needs.memory_gb * 1e9 / 2**20)}M",
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "setup": list(asked.setup) or None,
        "signal_delay_s": warning_seconds(needs),
        "array_parallelism": MOST_CELLS,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own key is unknown to clusters that charge by keys
        "additional_parameters": {"requeue": True, **asked.options},
    }


def warning_seconds(needs: Resources) -> int:
    """Return how long before its time limit a job is told to stop: a quarter of a short limit."""
    return min(WARNING_SECONDS, int((needs.minutes or 0) * 60 / 4))


def arrays(jobs: Iterable[Job]) -> list[list[Job]]:
    """Group jobs that ask the same; each group is one array."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(repr(job.resources), []).append(job)
    return [same[at : at + MOST_CELLS] for same in found.values() for at in range(0, len(same), MOST_CELLS)]


def script(needs: Resources, cells: int, folder: Path) -> str:
    """Return the file that submitit gives to sbatch.

    Args:
        needs: Resources of each cell.
        cells: Number of cells; more than one is an array.
        folder: Folder of submitit's files.

    Raises:
        MissingDependencyError: submitit is not installed.
    """
    submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    command = f"{quote(sys.executable)} -u -m submitit.core._submit {quote(str(folder))}"
    return _make_sbatch_string(command, folder, map_count=cells if cells > 1 else None, **parameters(needs))


def describe(jobs: Sequence[Job], results: Path) -> list[str]:
    """Describe for a dry run: the lines of sbatch for each array.

    Raises:
        ConfigError: SLURM can never be asked for what a job needs.
        MissingDependencyError: submitit is not installed.
    """
    lines = []
    for same in arrays(jobs):
        check(same[0])
        to = f" to {same[-1].name}" if len(same) > 1 else ""
        lines.append(f"sbatch lines of {len(same)} cell{'s' if to else ''}, {same[0].name}{to}:")
        text = script(same[0].resources, len(same), results.absolute() / FOLDER)
        lines += [f"  {line}" for line in text.splitlines() if line]
    return lines


def check(job: Job) -> None:
    """Refuse a job that SLURM can never be asked for.

    Raises:
        ConfigError: The message says why.
    """
    if (why := refusal(job.resources)) is not None:
        raise ConfigError(why, where=f"job {job.name}", do="set it in [resources] of the matrix file")
