"""Shared fixtures: a tiny real model, an isolated cache, the data of BFCL."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from shiqbench_tasks.bfcl_v3.data import Entry

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for models this small, more threads only wait for each other
# No deadline: properties check values, and the time of an example depends on the load of the machine.
settings.register_profile("shiqbench", deadline=None)
settings.load_profile("shiqbench")
# A shell ignores Ctrl-C in what it runs in the background, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run fast tests first, so that a simple mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, a byte tokenizer and the ChatML template."""
    from shiqbench.testing.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache folder for this test."""
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def bfcl_root() -> Path:
    """BFCL v3's pinned wheel, unpacked."""
    from shiqbench_tasks.bfcl_v3.versions import V3

    from shiqbench.base.wheels import fetch

    return fetch(V3.wheel)


@pytest.fixture(scope="session")
def v4_root() -> Path:
    """BFCL v4's pinned wheel, unpacked."""
    from shiqbench_tasks.bfcl_v3.versions import V4

    from shiqbench.base.wheels import fetch

    return fetch(V4.wheel)


@pytest.fixture(scope="session")
def entries(bfcl_root: Path) -> tuple[Entry, ...]:
    """The entries of BFCL v3's category `base`."""
    from shiqbench_tasks.bfcl_v3.data import load_entries

    return load_entries(bfcl_root, "base")


@pytest.fixture(scope="session")
def miss_func(bfcl_root: Path) -> tuple[Entry, ...]:
    """The entries of BFCL v3's category `miss_func`."""
    from shiqbench_tasks.bfcl_v3.data import load_entries

    return load_entries(bfcl_root, "miss_func")
