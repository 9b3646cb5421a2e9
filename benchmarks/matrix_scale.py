"""A matrix of 100,000 cells whose results are simulated: how long the dry run and the report take, and how much memory.

    python benchmarks/matrix_scale.py                       # 20 settings x 5,000 seeds of mdp, all finished
    python benchmarks/matrix_scale.py --seeds 500
    python benchmarks/matrix_scale.py --seeds 3 --budgets 66 --records 200 --baseline base

Folders are those of real cells (same recipes, digests and files); only their numbers are made up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shiqbench.base.manifest import manifest
from shiqbench.matrices.plan import make_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shiqbench.matrices.cells import Cell, PlannedFamily
    from shiqbench.matrices.plan import MatrixPlan

ALGORITHMS = ("base", "sft", "dpo", "copg", "dro", "shiq")


def matrix_file(folder: Path, seeds: int, budgets: int) -> Path:
    """The untrained policy, and five algorithms under some budgets."""
    file = folder / "matrix.toml"
    file.write_text(
        f"[matrix]\nalgorithms = {json.dumps(ALGORITHMS)}\ntasks = ['mdp']\nseeds = {list(range(seeds))}\n"
        f"[sweep]\n'train.updates' = {[50 * (n + 1) for n in range(budgets)]}\n"
    )
    return file


def simulate(matrix: MatrixPlan, share: float, records: int) -> int:
    """Write the first ``share`` of every family's cells as finished ones; returns how many."""
    written = 0
    environment, rng = manifest(), np.random.default_rng(0)
    for planned, cells in zip(matrix.final.planned, matrix.final.cells, strict=True):
        for cell in cells[: round(share * len(cells))]:
            mean = 0.01 + (cell.seed or 0) % 97 / 1000
            scores = rng.gamma(2, mean / 2, records) if records else np.array([mean])
            write_cell(planned, cell, scores, environment, records=records > 0)
            written += 1
    return written


def write_cell(
    planned: PlannedFamily, cell: Cell, scores: NDArray[np.float64], environment: dict[str, Any], *, records: bool
) -> None:
    """One finished cell with made-up numbers and no weights; with ``records``, the scores are in its evaluation."""
    regret = float(scores.mean())
    primary = {
        "name": "relative_regret",
        "value": regret,
        "low": regret / 2,
        "high": regret * 2,
        "higher_is_better": False,
    }
    metrics = {"primary": primary, "metrics": {"relative_regret": regret, "return": 1 - regret}, "engine": "exact"}
    trained = {"seconds": 3.0, "budget": {"updates": 1, "tokens": 1000}, "model": "own policy of mdp", "start": None}
    _write(
        cell.folder,
        {
            "config.json": {**planned.plan.cell.recipe, "seed": cell.seed},
            "manifest.json": {**environment, **trained},
        },
    )
    _write(
        cell.evaluation,
        {
            "config.json": {**planned.plan.eval_recipe(planned.plan.cell), "train": cell.digest},
            "manifest.json": {**environment, "seconds": {"total": 0.5}, "reduced": False},
            "metrics.json": metrics,
            **({"records.parquet": _parquet(scores)} if records else {}),
        },
    )


def _parquet(scores: NDArray[np.float64]) -> bytes:
    columns = {"id": [f"instance-{n}" for n in range(len(scores))], "relative_regret": scores}
    return pd.DataFrame(columns | {"return": 1 - scores}).to_parquet()


def _write(folder: Path, contents: dict[str, dict[str, Any] | bytes]) -> None:
    folder.mkdir(parents=True)
    entries = {}
    for name, value in contents.items():
        content = value if isinstance(value, bytes) else json.dumps(value, indent=2).encode()
        (folder / name).write_bytes(content)
        entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "DONE").write_text(json.dumps({"files": entries}))


def measure(name: str, command: list[str], environment: dict[str, str]) -> None:
    """Run a command and print its time and its memory."""
    timed = ["import resource, sys; from shiqbench.commands.app import main", "try: main(sys.argv[1:])"]
    peaks = "resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)"
    timed.append(f"finally: print(max({peaks}), file=sys.stderr)")
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", "\n".join(timed), *command],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    gigabytes = int(done.stderr.splitlines()[-1]) / 2**20
    sys.stdout.write(f"{name}: {time.perf_counter() - started:.1f} s, {gigabytes:.2f} GB\n")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5000)
    parser.add_argument(
        "--budgets", type=int, default=4, help="numbers of updates; each algorithm trains with every one"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the cells that are finished")
    parser.add_argument("--records", type=int, default=0, help="scored examples of every evaluation")
    parser.add_argument("--baseline", help="algorithm with which the report compares the others")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, results = matrix_file(folder, chosen.seeds, chosen.budgets), folder / "results"
        started = time.perf_counter()
        written = simulate(make_matrix(file, results=results), chosen.share, chosen.records)
        sys.stdout.write(f"{written} finished cells simulated in {time.perf_counter() - started:.0f} s\n")
        cache = {"SHIQBENCH_CACHE": str(folder / "cache")}
        report = ["report", str(results), *(["--baseline", chosen.baseline] if chosen.baseline else [])]
        measure("dry run", ["matrix", str(file), "--results", str(results), "--dry-run"], cache)
        measure("first report", report, cache)
        measure("report again", report, cache)
        if chosen.records:
            measure("page", [*report, "--format", "html", "--output", str(folder / "report.html")], cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
