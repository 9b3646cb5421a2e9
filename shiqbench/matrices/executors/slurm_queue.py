"""What SLURM's own commands say and do: whether it takes a job, the state of its queue, cancelling."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
ASK_SECONDS = 10.0  # between two questions to SLURM; one question is about all jobs
OF_ITSELF = frozenset({"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED"})
GOES_ON = frozenset({"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})  # the job itself is not the cause
ENDED = OF_ITSELF | GOES_ON  # states in which SLURM will not run a job any more
UNKNOWN = "UNKNOWN"  # SLURM forgets a job some minutes after its end


@dataclass
class Queue:
    """The SLURM jobs of this user, those that ended a few minutes ago included."""

    _states: dict[str, tuple[str, str]] = field(default_factory=dict)
    _asked: float | None = None

    def ask(self) -> None:
        """Ask SLURM now. If it does not answer, the last answer stays."""
        self._asked = time.monotonic()
        command = ["squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i|%T|%r"]
        asked = _run(command)
        if asked.returncode == 0:
            parts = (line.split("|", 2) for line in asked.stdout.splitlines() if line.count("|") >= 2)
            self._states = {number.strip(): (state, reason) for number, state, reason in parts}

    def state(self, number: str) -> str:
        """Return the state of a SLURM job in one word, at most ten seconds old."""
        if self._asked is None or time.monotonic() - self._asked > ASK_SECONDS:
            self.ask()
        return self._states.get(number, (UNKNOWN, ""))[0]

    def described(self, number: str) -> str:
        """Return the state with what the job waits for, such as ``pending: Priority``."""
        state, reason = self._states.get(number, (UNKNOWN, ""))
        return state.lower() + (f": {reason}" if state == "PENDING" and reason not in ("", "None") else "")


def check_commands() -> None:
    """Check that this machine has the commands of SLURM.

    Raises:
        ConfigError: One is missing.
    """
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise ConfigError(
                f"no {command} on this machine",
                where="--executor slurm",
                do="type the command on a machine that submits jobs to SLURM, such as a login node",
            )


def refused(script: str) -> str | None:
    """Ask SLURM whether it would take a file for sbatch; return its reason if not."""
    asked = _run(["sbatch", "--test-only"], script)
    return None if asked.returncode == 0 else f"SLURM refuses it: {reason(asked.stderr)}"


def cancel(numbers: Sequence[str]) -> None:
    """Cancel SLURM jobs; those that have ended are skipped."""
    _run(["scancel", *numbers])


def reason(said: str) -> str:
    """Return the first line of what a command of SLURM said about a failure."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip() for line in said.splitlines()]
    return next((line for line in lines if line), "it gives no reason")[:200]


def _run(command: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603
