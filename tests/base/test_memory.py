"""Freed memory: kept while it is wanted, given back after."""

from __future__ import annotations

import sys

import pytest
import torch

from shiqbench.base import memory
from shiqbench.base.machine import resident
from shiqbench.base.memory import keeping_freed_memory, return_freed_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
SIZE = 2**28


def resident_after(*, again: bool) -> int:
    """How much more there is in memory after a tensor came and went."""
    before = resident()
    with keeping_freed_memory(again=again):
        torch.ones(SIZE // 4).sum()
        assert resident() - before > SIZE // 2
    return resident() - before


def test_freed_memory_is_given_back_at_the_end() -> None:
    assert resident_after(again=False) < SIZE // 2


def test_a_small_process_keeps_it_for_the_next_and_a_large_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resident_after(again=True) > SIZE // 2
    monkeypatch.setattr(memory, "SMALL_SHARE", 10**6)  # everything is large
    with keeping_freed_memory(again=True):
        pass
    assert resident_after(again=True) < SIZE // 2


def test_what_lies_between_pieces_in_use_is_returned_by_a_large_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resident()
    pieces = [torch.ones(2**14) for _ in range(2**12)]  # 64 KB each, below the size that is mapped by itself
    kept = pieces[:: 2**8]
    del pieces
    assert resident() - before > SIZE // 2
    return_freed_memory()
    assert resident() - before > SIZE // 2  # small processes keep it
    monkeypatch.setattr(memory, "SMALL_SHARE", 10**6)
    return_freed_memory()
    assert resident() - before < SIZE // 2
    assert len(kept) == 2**4
