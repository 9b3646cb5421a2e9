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
