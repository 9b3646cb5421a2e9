"""The machine's memory and processor, and what a process takes of them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from shiqbench.base import machine
from shiqbench.base.manifest import manifest


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    assert machine.memory().total == psutil.virtual_memory().total
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory().total == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.memory() == (5000, 4000)


def test_the_first_processor_is_named_with_its_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROCESSOR", tmp_path / "cpuinfo")
    assert machine.processor()[1] == frozenset()
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Fast\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: Slow\n"
    )
    assert machine.processor() == ("Fast", frozenset({"fpu", "avx2"}))


@pytest.mark.parametrize(
    ("flags", "slow"),
    [("fpu sse2 avx2", True), ("fpu sse2 avx2 avx512f", False), ("fp asimd bf16", False), ("", False)],
)
def test_bf16_is_slow_on_x86_without_avx_512(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, slow: bool
) -> None:
    monkeypatch.setattr(machine, "PROCESSOR", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert machine.bf16_is_slow() is slow


@pytest.mark.skipif(not (Path(__file__).parents[2] / ".git").exists(), reason="not a checkout")
def test_a_manifest_names_the_commit() -> None:
    assert len(manifest()["git"]["commit"]) == 40


def test_what_is_gone_takes_nothing() -> None:
    assert machine.resident(2**22 + 1) == 0  # no process has this number
    assert machine.resident(os.getpid()) > 10**6
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("made", "found"),
    [((), False), (("nvidia0",), True), (("nvidiactl",), False), (("nvidia12", "nvidiactl"), True), (("kfd",), True)],
)
def test_a_gpu_is_found_by_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[str, ...], found: bool
) -> None:
    for name in made:
        (tmp_path / name).touch()
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    monkeypatch.setattr(machine, "KFD", tmp_path / "kfd")
    assert machine.has_gpu() is found
