"""Seconds that light commands take beyond a bare interpreter: the median of several runs in turn with it.

python benchmarks/start_up.py [--runs 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["list", "algorithms"], ["show", "shiq"], ["run", "--algo", "shik", "--task", "bfcl_v3"])


def seconds(*words: str) -> float:
    """Wall time of a command of the interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)  # noqa: S603 - fixed words
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = range(parser.parse_args().runs)
    for words in COMMANDS:
        over = statistics.median(seconds("-m", "shiqbench", *words) - seconds("-c", "") for _ in runs)
        sys.stdout.write(f"{over:.2f} s  shiqbench {' '.join(words)}\n")
