"""Both components keep the contract of shiqbench."""

from __future__ import annotations

from pathlib import Path

from shiqbench.testing import check_algorithm, check_task


def test_awr() -> None:
    check_algorithm("awr")


def test_awr_on_groups_of_four() -> None:
    check_algorithm("awr", {"group": 3, "beta": 0.01})


def test_gsm8k_solutions(data: Path) -> None:
    check_task("gsm8k_solutions", {"data": str(data)})
