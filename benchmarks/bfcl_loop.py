"""The episode loop without a model: every ground truth of bfcl_v3 played and scored, on one core.

    python benchmarks/bfcl_loop.py               # the markdown table of docs/bfcl_v3.md

Plays 4 x 200 scenarios, then two bad policies, then the ground truth again, all in one process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, play
from shiqbench_tasks.bfcl_v3.simulator import official
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, VERSIONS

from shiqbench.base.wheels import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Script


def truth(entry: Entry) -> Script:
    """The calls of the ground truth."""
    return entry.ground_truth


def nothing(entry: Entry) -> Script:
    """No call in any turn."""
    return ((),) * len(entry.users)


def last_call_dropped(entry: Entry) -> Script:
    """The ground truth without its last call."""
    turns = list(entry.ground_truth)
    last = max(turn for turn, calls in enumerate(turns) if calls)
    turns[last] = turns[last][:-1]
    return tuple(turns)


POLICIES: tuple[tuple[str, Callable[[Entry], Script]], ...] = (
    ("ground truth, tools and answers cold", truth),
    ("nothing", nothing),
    ("last call dropped", last_call_dropped),
    ("ground truth, again", truth),
)


def valid_episodes(entries: Sequence[Entry], root: Path, script: Callable[[Entry], Script]) -> int:
    """How many of the scenarios a policy wins."""
    return sum(play(Dialogue(entry, root), script(entry)).verdict().valid for entry in entries)


def pin_to_one_core() -> str:
    """Keep this process on one core, where the system can; says what was done."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned to a core"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"pinned to core {core}"


def say(*values: object) -> None:
    """One row of a markdown table."""
    sys.stdout.write("| " + " | ".join(str(v) for v in values) + " |\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-version", default="v3", choices=list(VERSIONS))
    version = VERSIONS[parser.parse_args().data_version]
    pinned = pin_to_one_core()
    started = time.perf_counter()
    root = fetch(version.wheel)
    entries = {category: load_entries(root, category, version) for category in CATEGORIES}
    loaded = time.perf_counter()
    official(root)
    sys.stdout.write(
        f"{version.wheel.requirement}, {pinned}; not counted below: data {loaded - started:.2f} s, "
        f"official classes {time.perf_counter() - loaded:.2f} s\n\n"
    )
    say("policy", *(f"valid, {category}" for category in CATEGORIES), "seconds", "of the core", "episodes/s")
    say(*["---"] * (len(CATEGORIES) + 4))
    for name, script in POLICIES:
        started, worked = time.perf_counter(), time.process_time()
        valid = [valid_episodes(entries[category], root, script) for category in CATEGORIES]
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        episodes = sum(map(len, entries.values()))
        say(name, *valid, f"{seconds:.2f}", f"{work:.2f}", f"{episodes / seconds:.0f}")


if __name__ == "__main__":
    main()
