"""Resources of this machine, found without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from shiqbench.base.machine import cores, memory
from shiqbench.matrices.executors.schedule import Capacity


def this_machine() -> Capacity:
    """Return the cores, GPUs and memory that this process may use."""
    return Capacity(float(cores()), visible_gpus(), memory().total / 1e9)


def usual_needs(*, language_model: bool) -> dict[str, float]:
    """Return the default resources of a cell, the same as those of ``shiqbench run``.

    A language model takes a GPU and its share of the cores if there are GPUs, or else all cores. A task's own policy
    takes one core.
    """
    if not language_model:
        return {}
    has = this_machine()
    if not has.gpus:
        return {"cpus": has.cpus}
    return {"cpus": float(max(1, has.cpus // len(has.gpus))), "gpus": 1.0}


def visible_gpus() -> tuple[str, ...]:
    """Return the names of GPUs in ``CUDA_VISIBLE_DEVICES``, or without it, all that ``nvidia-smi`` lists."""
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
