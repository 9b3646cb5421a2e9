"""The pinned wheels and their entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3.data import Entry, load_entries
from shiqbench_tasks.bfcl_v3.versions import V3, V4

from shiqbench.base.wheels import fetch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def bfcl_root() -> Path:
    return fetch(V3.wheel)


@pytest.fixture(scope="session")
def v4_root() -> Path:
    return fetch(V4.wheel)


@pytest.fixture(scope="session")
def entries(bfcl_root: Path) -> tuple[Entry, ...]:
    return load_entries(bfcl_root, "base")


@pytest.fixture(scope="session")
def miss_func(bfcl_root: Path) -> tuple[Entry, ...]:
    return load_entries(bfcl_root, "miss_func")
