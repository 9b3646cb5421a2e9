"""The pinned wheel and its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3.data import Entry, load_entries

from shiqbench.assets import BFCL_V3, fetch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def bfcl_root() -> Path:
    return fetch(BFCL_V3)


@pytest.fixture(scope="session")
def entries(bfcl_root: Path) -> tuple[Entry, ...]:
    return load_entries(bfcl_root, "base")
