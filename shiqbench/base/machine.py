"""What this machine has, what processes take of it, and ending them."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

CONTAINER = Path("/sys/fs/cgroup")  # psutil does not look at a container's limits
PROCESSOR = Path("/proc/cpuinfo")  # nor at the processor's name and flags


class Memory(NamedTuple):
    """Bytes of memory, as far as the container allows.

    Attributes:
        total: Of the machine.
        available: Without swapping.
    """

    total: int
    available: int


def memory() -> Memory:
    """The machine's memory."""
    found = psutil.virtual_memory()
    try:
        limit, used = (int((CONTAINER / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
    except (OSError, ValueError):  # no limit, or none that is readable
        return Memory(found.total, found.available)
    return Memory(min(found.total, limit), min(found.available, limit - used))


def cores() -> int:
    """Cores that this process may use."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def resident(pid: int | None = None) -> int:
    """Bytes of memory that a process and its children hold, this one by default; 0 if it is gone."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for each in (psutil.Process(pid), *children(pid)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total


def children(pid: int | None = None) -> list[psutil.Process]:
    """The processes that a process has started, this one by default, and theirs."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def end_with_children() -> None:
    """End this process and its children at once, without any cleaning up."""
    for child in children():
        child.kill()
    os._exit(1)


def processor() -> tuple[str, frozenset[str]]:
    """Name and flags of the first processor."""
    text = PROCESSOR.read_text(encoding="utf-8", errors="replace") if PROCESSOR.exists() else ""
    name, flags = (re.search(rf"^(?:{key})\s*:(.*)", text, re.MULTILINE) for key in ("model name", "flags|Features"))
    found = name[1].strip() if name else platform.processor() or "unknown"
    return found, frozenset(flags[1].split() if flags else ())
