"""What this machine has to place jobs on, found without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from shiqbench.executors.schedule import Capacity

_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")  # a container's limit, or "max"


def this_machine() -> Capacity:
    """Cores that this process may use, GPUs that it may see, memory that it may take."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Capacity(float(cpus), visible_gpus(), _memory_gb())


def visible_gpus() -> tuple[str, ...]:
    """Names of GPUs, as ``CUDA_VISIBLE_DEVICES`` lists them, else as many as ``nvidia-smi`` lists."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip() not in ("", "-1"))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return tuple(done.stdout.split()) if done.returncode == 0 else ()


def _memory_gb() -> float:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_MEMORY.read_text().strip()
    except OSError:
        limit = "max"
    return (there if limit == "max" else min(there, int(limit))) / 1e9
