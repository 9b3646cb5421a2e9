"""Control when this process returns freed memory, on Linux with glibc; no effect on other systems."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from shiqbench.base import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameter numbers of mallopt
_DEFAULT_BYTES = 128 * 1024
_KEEP_BYTES = 2**30
SMALL_SHARE = 8  # a process is small up to 1/8 of the machine's memory


@contextmanager
def keeping_freed_memory(*, again: bool = False) -> Iterator[None]:
    """Keep the pages of freed tensors in this process, and return them to the system at the end.

    By default every large CPU tensor is mapped and unmapped, and the kernel clears its pages each time. This takes
    about a third of the time of a training step on two cores.

    Args:
        again: True if similar work follows soon: a process that is small compared to the machine keeps the pages.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _KEEP_BYTES)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        if not (again and _is_small()):
            libc.mallopt(_MMAP_THRESHOLD, _DEFAULT_BYTES)
            libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_BYTES)
            libc.malloc_trim(0)


def return_freed_memory() -> None:
    """Return what the allocator keeps between pieces that are in use, unless this process is small.

    In a process that trains and evaluates one language model after the other it piles up, by gigabytes.
    """
    if not _is_small() and (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _is_small() -> bool:
    return machine.resident() * SMALL_SHARE <= machine.memory().total


@cache  # find_library starts processes
def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
