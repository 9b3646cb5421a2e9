"""Runs a matrix in its own process: ``matrix_alone.py EXECUTOR RESULTS NAME...``; prints the states as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support_jobs import Memory, job

from shiqbench.matrices.executors import execute, exit_code


def main() -> int:
    executor, results, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    tally = "algo.tally=" + json.dumps(str(results.parent / "tally"))
    minutes = 30 if executor == "slurm" else None
    jobs = [job(results, n, "algo.pace=0.1", tally, seed=seed, minutes=minutes) for seed, n in enumerate(names)]
    try:
        outcomes = execute(jobs, executor=executor, view=Memory())  # type: ignore[arg-type]
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(json.dumps([o.state for o in outcomes]))
    return int(exit_code(outcomes))


if __name__ == "__main__":
    sys.exit(main())
