"""Episodes that are played at the same time do not see each other, small states and large ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.simulator import ToolBox


@pytest.mark.parametrize("category", ["base", "long_context"])
def test_what_one_episode_does_another_does_not_see(bfcl_root: Path, category: str) -> None:
    moved = 0
    for entry in load_entries(bfcl_root, category)[:200:10]:
        idle, played = ToolBox(entry, bfcl_root), ToolBox(entry, bfcl_root)
        start = {name: repr(vars(i)) for name, i in idle.snapshot().items()}
        for call in (c for turn in entry.ground_truth for c in turn):
            played.dispatch(call)
        moved += {name: repr(vars(i)) for name, i in played.snapshot().items()} != start
        for box in (idle, ToolBox(entry, bfcl_root)):
            assert {name: repr(vars(i)) for name, i in box.snapshot().items()} == start
            assert all(box.instances[n] is not played.instances[n] for n in entry.classes)
    assert moved > 10


def containers(value: object) -> set[int]:
    """Identities of every dict and list that is reachable from a tool's attributes."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = {id(value)} if isinstance(value, dict | list) else set()
    return found.union(*(containers(v) for v in inner))


def test_large_states_are_copies_too(bfcl_root: Path) -> None:
    seen = 0
    for entry in load_entries(bfcl_root, "long_context")[::10]:
        one, other = ToolBox(entry, bfcl_root), ToolBox(entry, bfcl_root)
        for name in entry.classes:
            mine, theirs = (containers(vars(box.instances[name])) for box in (one, other))
            seen += len(mine)
            assert not mine & theirs
    assert seen > 100
