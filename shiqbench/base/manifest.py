"""What a result was made with: code, packages, hardware, threads, model, times."""

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
    """The environment of this process, plus the caller's facts."""
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


# A process goes on with the code that it began with, so these are asked once in it.
@cache
def _packages() -> dict[str, str]:
    return {d.name: d.version for d in sorted(importlib.metadata.distributions(), key=lambda d: d.name)}


@cache
def _git() -> dict[str, Any] | None:
    """Commit and dirtiness of the harness's own checkout; None where it is installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        # A kill in the middle of an optional refresh would leave a lock in the user's checkout.
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
    """Largest resident size of this process so far, in 10^9 bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)


def peak_gpu_memory_gb() -> float | None:
    """Most GPU memory that tensors of this process took since the last call, in 10^9 bytes; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    peak: int = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return round(peak / 1e9, 3)
