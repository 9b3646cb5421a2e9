"""Words in messages."""

from __future__ import annotations

from shiqbench.base.words import counted


def test_one_is_singular() -> None:
    assert [counted(n, "seed") for n in (0, 1, 1.0, 2, 2.5)] == ["0 seeds", "1 seed", "1 seed", "2 seeds", "2.5 seeds"]
