"""The manifest of a result: code, packages, hardware, threads, model, times."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from shiqbench.base import machine


def manifest(**facts: Any) -> dict[str, Any]:
    """Describe the environment of this process, and add the caller's facts."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "shiqbench": importlib.metadata.version("shiqbench"),
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "hardware": _hardware(),
        **facts,
    }


# A process keeps the code that it started with, so these are computed once per process.
@cache
def _packages() -> dict[str, str]:
    named = [d for d in importlib.metadata.distributions() if d.name]  # pip may leave half of one behind
    return {d.name: d.version for d in sorted(named, key=lambda d: d.name)}


@cache
def _git() -> dict[str, Any] | None:
    """Return commit and dirty state of shiqbench's own checkout; None if shiqbench is installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        # Git may refresh its index; a kill during that would leave a lock in the user's checkout.
        command = [git, "--no-optional-locks", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip()

    return {"commit": ask("rev-parse", "HEAD") or None, "dirty": bool(ask("status", "--porcelain"))}


def _hardware() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "cores": machine.cores(),
        "cpu": machine.processor()[0],
        "memory_gb": round(machine.memory().total / 1e9, 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def peak_memory_gb() -> float:
    """Return the largest resident size of this process so far, in 10^9 bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)


def peak_gpu_memory_gb() -> float | None:
    """Return the peak GPU memory of this process's tensors since the last call, in 10^9 bytes; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    peak: int = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return round(peak / 1e9, 3)
