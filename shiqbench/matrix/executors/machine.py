"""What this machine has to place jobs on, found without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from shiqbench.base.machine import cores, memory
from shiqbench.matrix.executors.schedule import Capacity


def this_machine() -> Capacity:
    """Cores that this process may use, GPUs that it may see, memory that it may take."""
    return Capacity(float(cores()), visible_gpus(), memory().total / 1e9)


def usual_needs(*, language_model: bool) -> dict[str, float]:
    """What a cell needs where its matrix file does not say: a language model takes what ``shiqbench run`` would take.

    That is a GPU where there are any, with its share of the cores, or else all cores. A task's own policy takes a core.
    """
    if not language_model:
        return {}
    has = this_machine()
    if not has.gpus:
        return {"cpus": has.cpus}
    return {"cpus": float(max(1, has.cpus // len(has.gpus))), "gpus": 1.0}


def visible_gpus() -> tuple[str, ...]:
    """Names of GPUs, as ``CUDA_VISIBLE_DEVICES`` lists them, else as many as ``nvidia-smi`` lists."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip() not in ("", "-1"))
    return _gpus_of_the_driver()


@cache
def _gpus_of_the_driver() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return tuple(done.stdout.split()) if done.returncode == 0 else ()
