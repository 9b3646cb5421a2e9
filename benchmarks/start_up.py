"""Seconds that light commands take beyond a bare interpreter: the median of several runs in turn with it.

python benchmarks/start_up.py [--runs 7] [--peers]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (
    ["shiqbench", "--help"],
    ["shiqbench", "list", "algorithms"],
    ["shiqbench", "list", "tasks"],
    ["shiqbench", "show", "shiq"],
    ["shiqbench", "run", "--algo", "shik", "--task", "bfcl_v3"],
)
PEERS = (["lm_eval", "ls", "tasks"],)


def seconds(*words: str) -> float:
    """Wall time of a command of the interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)  # noqa: S603 - fixed words
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="time the lists of other tools too")
    asked = parser.parse_args()
    for words in (*COMMANDS, *(PEERS if asked.peers else ())):
        over = [seconds("-m", *words) - seconds("-c", "") for _ in range(asked.runs)]
        sys.stdout.write(f"{statistics.median(over):.2f} s [{min(over):.2f}, {max(over):.2f}]  {' '.join(words)}\n")
