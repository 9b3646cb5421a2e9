"""Packages that vLLM installs with torch, and that nothing here uses.

A package registry may have torch for CPUs and these packages only for CUDA. Where their build is not that of torch, no
model of transformers can be imported.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError, MissingDependencyError
from shiqbench.base.wheels import has_pip

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
REPAIR = "shiqbench doctor --fix"


def versions(*names: str) -> dict[str, str]:
    """Versions of the installed ones among these distributions, without importing them."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def mismatch(installed: Mapping[str, str]) -> str:
    """Say which companions have another build than torch; an empty text if none has."""
    torch_is_cpu = installed.get("torch", "").endswith("+cpu")
    broken = [n for n in COMPANIONS if n in installed and installed[n].endswith("+cpu") != torch_is_cpu]
    if not broken or sys.platform != "linux":
        return ""
    pair = ", ".join(f"{name} {installed[name]}" for name in broken)
    return f"{pair} with torch {installed.get('torch', 'not installed')}: the builds do not match"


def check_companions() -> None:
    """Refuse to go on where no model can be imported.

    Raises:
        MissingDependencyError: The build of a companion does not match torch.
    """
    if said := mismatch(versions("torch", *COMPANIONS)):
        raise MissingDependencyError(
            f"{said}, so no model can be imported",
            where="this environment",
            do=f"run `{REPAIR}`, which uninstalls {', '.join(COMPANIONS)}",
        )


def remove_companions() -> list[str]:
    """Uninstall the companions if their builds do not match torch.

    Returns:
        What was uninstalled.

    Raises:
        ConfigError: There is no pip, or it could not uninstall them.
    """
    installed = versions("torch", *COMPANIONS)
    if not mismatch(installed):
        return []
    present = [name for name in COMPANIONS if name in installed]
    if not has_pip():
        raise ConfigError(
            "this environment has no pip", where=sys.executable, do=f"uninstall {' '.join(present)} as you installed it"
        )
    command = [sys.executable, "-P", "-m", "pip", "uninstall", "--yes", *present]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed options and names
    if done.returncode or versions(*present):
        said = (f"{done.stdout}\n{done.stderr}".strip().splitlines() or ["nothing"])[-1]
        raise ConfigError(
            f"pip could not uninstall {' '.join(present)}",
            where=f"pip said: {said.strip()}",
            do="uninstall them as you installed them",
        )
    return [f"{name} {installed[name]}" for name in present]
