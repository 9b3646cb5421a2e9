"""Runs a matrix in its own process: ``matrix_alone.py RESULTS NAME...``; prints the states as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support_jobs import Memory, job

from shiqbench.matrices.executors import execute, exit_code


def main() -> int:
    results, names = Path(sys.argv[1]), sys.argv[2:]
    tally = "algo.tally=" + json.dumps(str(results.parent / "tally"))
    jobs = [job(results, name, "algo.pace=0.1", tally, seed=seed) for seed, name in enumerate(names)]
    try:
        outcomes = execute(jobs, view=Memory())
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(json.dumps([o.state for o in outcomes]))
    return int(exit_code(outcomes))


if __name__ == "__main__":
    sys.exit(main())
