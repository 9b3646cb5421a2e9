"""A SLURM of one machine: ``fake_slurm.py COMMAND ...``. It really runs jobs; its state is the folder ``$FAKE_SLURM``.

It knows what submitit and shiqbench use of sbatch, srun, squeue, scancel and scontrol. ``$FAKE_MINUTE`` is the length
of a minute of a time limit in seconds; with ``$FAKE_REFUSAL`` sbatch takes nothing and says this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("FAKE_SLURM", "/nowhere"))
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
KILL_SECONDS = 10.0  # between SIGTERM and SIGKILL


def install(folder: Path) -> None:
    """Write the commands into a folder, for PATH."""
    folder.mkdir(parents=True)
    for command in COMMANDS:
        path = folder / command
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {command} "$@"\n')
        path.chmod(0o755)


def sbatch(*words: str) -> None:
    test = words[0] == "--test-only"
    script = sys.stdin.read() if test else Path(words[0]).read_text()
    asked = _options(script)
    if asked.get("partition") == "nowhere":
        sys.exit("sbatch: error: invalid partition specified: nowhere\nallocation failure: Invalid partition name")
    if test:
        return
    if refusal := os.environ.get("FAKE_REFUSAL"):
        sys.exit(f"sbatch: error: Batch job submission failed: {refusal}")
    main = str(100 + len(list(STATE.glob("*.sh"))))
    file = STATE / f"{main}.sh"
    file.write_text(script)
    last = int(asked["array"].partition("%")[0].partition("-")[2]) if "array" in asked else None
    numbers = [main] if last is None else [f"{main}_{task}" for task in range(last + 1)]
    for number in numbers:
        (STATE / f"{number}.state").write_text("PENDING")
        subprocess.Popen(
            [sys.executable, "-S", __file__, "run", number, str(file)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    sys.stdout.write(f"Submitted batch job {main}\n")


def run(number: str, file: str) -> None:
    """Run one job to its end, with its time limit, cancelling and requeueing; SLURM's own daemons do this."""
    asked = _options(Path(file).read_text())
    main, _, task = number.partition("_")
    variables = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0"}
    variables |= {"SLURM_ARRAY_JOB_ID": main, "SLURM_ARRAY_TASK_ID": task} if task else {}
    limit = float(asked["time"]) * float(os.environ.get("FAKE_MINUTE", "60"))
    warning = float(asked["signal"].partition("@")[2]) * float(os.environ.get("FAKE_MINUTE", "60")) / 60
    state = "REQUEUED"
    while state == "REQUEUED":
        (STATE / f"{number}.state").write_text("RUNNING")
        process = subprocess.Popen(["bash", file], start_new_session=True, env={**os.environ, **variables})
        state = _watch(process, number, limit, warning)
        (STATE / f"{number}.state").write_text(state)


def _watch(process: subprocess.Popen[bytes], number: str, limit: float, warning: float) -> str:
    started, warned, stopped = time.monotonic(), False, None
    while process.poll() is None:
        now = time.monotonic()
        if stopped is None and any((STATE / f"{number}.{flag}").exists() for flag in ("cancel", "requeue")):
            stopped = now
            _tell(number, signal.SIGTERM)
        if now - started > limit - warning and not warned:
            warned = True
            _tell(number, signal.SIGUSR2)
        if now - started > limit or (stopped is not None and now - stopped > KILL_SECONDS):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if now - started > limit:
                return "TIMEOUT"
        time.sleep(0.05)
    if (STATE / f"{number}.cancel").exists():
        return "CANCELLED"
    if (STATE / f"{number}.requeue").exists():
        (STATE / f"{number}.requeue").unlink()
        return "REQUEUED"
    return "FAILED" if process.returncode else "COMPLETED"


def _tell(number: str, what: signal.Signals) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((STATE / f"{number}.task").read_text()), what)


def srun(*words: str) -> None:
    left = list(words)
    output = left[left.index("--output") + 1]
    while left[0].startswith("--"):
        left = left[2:] if left[0] == "--output" else left[1:]
    number = os.environ["SLURM_JOB_ID"]
    main, _, task = number.partition("_")
    for pattern, value in (("%A", main), ("%a", task), ("%j", number), ("%t", "0")):
        output = output.replace(pattern, value)
    stream = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    (STATE / f"{number}.task").write_text(str(os.getpid()))
    os.execvp(left[0], left)


def squeue(*words: str) -> None:
    for path in sorted(STATE.glob("*.state")):
        state = path.read_text()
        sys.stdout.write(f"{path.stem}|{state}|{'Priority' if state == 'PENDING' else 'None'}\n")


def scancel(*numbers: str) -> None:
    for number in numbers:
        (STATE / f"{number}.cancel").touch()


def scontrol(verb: str, number: str) -> None:
    assert verb == "requeue"
    (STATE / f"{number}.requeue").touch()


def _options(script: str) -> dict[str, str]:
    found = [line.removeprefix("#SBATCH --").partition("=") for line in script.splitlines() if "#SBATCH" in line]
    return {name: value for name, _, value in found}


if __name__ == "__main__":
    verbs: dict[str, Any] = {f.__name__: f for f in (sbatch, run, srun, squeue, scancel, scontrol)}
    verbs[sys.argv[1]](*sys.argv[2:])
