"""Memory and cores of this machine, the memory of processes, and how to end them."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

CONTAINER = Path("/sys/fs/cgroup")  # psutil does not read the limits of a container
DEVICES = Path("/dev")
KFD = Path("/dev/kfd")  # of AMD's driver
PROCESSOR = Path("/proc/cpuinfo")  # psutil does not read the name and flags of the processor


class Memory(NamedTuple):
    """Bytes of memory within the limits of the container.

    Attributes:
        total: Total memory.
        available: Memory that can be used without swapping.
    """

    total: int
    available: int


def memory() -> Memory:
    """Return the memory of this machine."""
    found = psutil.virtual_memory()
    try:
        limit, used = (int((CONTAINER / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
    except (OSError, ValueError):  # there is no limit, or it cannot be read
        return Memory(found.total, found.available)
    return Memory(min(found.total, limit), min(found.available, limit - used))


def cores() -> int:
    """Return the number of cores that this process may use."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def resident(pid: int | None = None) -> int:
    """Return the memory of a process (default: this one) with its children, in bytes; 0 if it has ended."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for each in (psutil.Process(pid), *children(pid)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total


def children(pid: int | None = None) -> list[psutil.Process]:
    """Return all descendants of a process (default: this one)."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def end_with_children() -> None:
    """End this process and its children at once, without cleanup."""
    for child in children():
        child.kill()
    os._exit(1)


def bf16_is_slow() -> bool:
    """Whether products in bf16 take about a hundred times as long as in fp32: on x86 processors without AVX-512."""
    flags = processor()[1]
    return "sse2" in flags and "avx512f" not in flags


def has_gpu() -> bool:
    """Whether the machine has a GPU, without asking torch, whose import takes seconds."""
    return KFD.exists() or any(DEVICES.glob("nvidia[0-9]*"))


def processor() -> tuple[str, frozenset[str]]:
    """Return the name and the flags of the first processor."""
    text = PROCESSOR.read_text(encoding="utf-8", errors="replace") if PROCESSOR.exists() else ""
    name, flags = (re.search(rf"^(?:{key})\s*:(.*)", text, re.MULTILINE) for key in ("model name", "flags|Features"))
    found = name[1].strip() if name else platform.processor() or "unknown"
    return found, frozenset(flags[1].split() if flags else ())
