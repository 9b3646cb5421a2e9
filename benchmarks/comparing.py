"""What comparisons share: cells as `shiqbench run` commands, run where they are missing, and what they spent."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import read_json
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.running.runner import missing
from shiqbench.store.cell import is_done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.planning.plan import CellPlan, RunPlan

INTERRUPTED = 130


@dataclass(frozen=True)
class Line:
    """One line of a table: an algorithm under some settings, with all of its seeds.

    Attributes:
        name: Of the algorithm in the table.
        data: What it learns from, where lines differ in that.
        algo: The algorithm.
        assignments: Its ``--set``.
        eval_every: Updates between the points of its learning curve; None for none.
        plans: Seed to plan.
    """

    name: str
    data: str
    algo: str
    assignments: tuple[str, ...]
    eval_every: int | None
    plans: dict[int, RunPlan]


@dataclass(frozen=True)
class Comparison:
    """Where a comparison's cells are.

    Attributes:
        task: Of every cell.
        preset: Of the task.
        seeds: Of training.
        results: Results folder.
    """

    task: str
    preset: str
    seeds: tuple[int, ...]
    results: Path

    def line(
        self, name: str, algo: str, assignments: tuple[str, ...], data: str = "", eval_every: int | None = None
    ) -> Line:
        """One line, planned."""
        shared: dict[str, Any] = {
            "preset": self.preset,
            "settings": parse_assignments(assignments),
            "eval_every": eval_every,
            "results": self.results,
        }
        plans = {s: make_plan(Request(algo, self.task, seed=s, **shared)) for s in self.seeds}
        return Line(name, data, algo, assignments, eval_every, plans)

    def command(self, line: Line, seed: int) -> list[str]:
        """What a user would type for one cell."""
        words = ["run", "--algo", line.algo, "--task", self.task, "--seed", str(seed)]
        words += ["--preset", self.preset, "--results", str(self.results)]
        for assignment in line.assignments:
            words += ["--set", assignment]
        if line.eval_every is not None:
            words += ["--eval-every", str(line.eval_every)]
        return words

    def run_missing(self, lines: Sequence[Line]) -> list[str]:
        """Run what is missing, seed by seed, so that every stop leaves whole columns.

        Returns:
            The cells that failed.
        """
        failed = []
        for seed in self.seeds:
            for line in lines:
                plan = line.plans[seed]
                if not missing(plan):
                    continue
                words = self.command(line, seed)
                say("$ shiqbench " + shlex.join(words))
                started = time.perf_counter()
                whole = [sys.executable, "-m", "shiqbench", *words]
                code = subprocess.run(whole, stdout=sys.stderr, check=False).returncode  # noqa: S603 - words from above
                say(f"  exit {code} after {time.perf_counter() - started:.0f} s")
                if code == INTERRUPTED:
                    raise KeyboardInterrupt
                if code:
                    failed.append(f"{line.name} {line.data}".strip() + f", seed {seed}")
        return failed


def finished(plan: RunPlan, cell: CellPlan) -> bool:
    """Trained and evaluated."""
    return is_done(cell.folder) and is_done(plan.eval_folder(cell))


def unfinished(lines: Sequence[Line]) -> list[str]:
    """Names of the cells that are missing, a text for each line."""
    found = []
    for line in lines:
        gone = [str(s) for s, p in line.plans.items() if not finished(p, p.cell)]
        if gone:
            found.append(f"{line.name}{' on ' * bool(line.data)}{line.data}, seed {', '.join(gone)}")
    return found


def records(plan: RunPlan, cell: CellPlan, columns: Sequence[str]) -> Any:
    """Some columns of an evaluation's records."""
    import pandas as pd

    return pd.read_parquet(plan.eval_folder(cell) / "records.parquet", columns=list(columns))


def spent(cells: Sequence[CellPlan]) -> tuple[str, str]:
    """Updates and mean seconds of training."""
    manifests = [read_json(c.folder / "manifest.json") for c in cells]
    updates = sorted({m["budget"]["updates"] for m in manifests})
    seconds = sum(m["seconds"] for m in manifests) / len(manifests)
    return ", ".join(map(str, updates)), f"{seconds:.0f}"


def say(text: str) -> None:
    """Progress, beside the table."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def command_line(
    description: str | None,
    planned: Callable[[argparse.Namespace], tuple[Comparison, list[Line]]],
    table: Callable[[Comparison, list[Line]], str],
    options: Callable[[argparse.ArgumentParser], Any] = lambda _: None,
) -> int:
    """Entry point of a comparison: run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    options(parser)
    chosen = parser.parse_args()
    comparison, lines = planned(chosen)
    failed = [] if chosen.table else comparison.run_missing(lines)
    sys.stdout.write(table(comparison, lines) + "\n")
    for name in failed:
        say(f"failed: {name}; its folder's error.json says why")
    return bool(failed)
