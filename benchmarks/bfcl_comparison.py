"""ShiQ's two rewards beside dpo, copg, dro and continued supervision on bfcl_v3: same start, same budget, same data.

    python benchmarks/bfcl_comparison.py                    # one seed
    python benchmarks/bfcl_comparison.py --seeds 0 1 2      # the whole matrix; continues where it was stopped
    python benchmarks/bfcl_comparison.py --seeds 0 1 2 --table > results/bfcl_v3_comparison.md

A cell is one ``shiqbench run``, printed before it starts. What is done is not done again, a cell that fails costs
only itself, and the table names the cells that are missing.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.cell import is_done
from shiqbench.files import read_json
from shiqbench.intervals import clustered_wilson, sign_test, student
from shiqbench.plan import Request, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plan import CellPlan, RunPlan

TASK = "bfcl_v3"
INTERRUPTED = 130
ALGORITHMS = {
    "shiq, turn rewards": ("shiq", ()),
    "shiq, episode rewards": ("shiq", ("task.reward=episode",)),
    "dpo": ("dpo", ()),
    "copg": ("copg", ()),
    "dro": ("dro", ()),
    "sft continued": ("sft", ()),
}
DATA = {
    "ground truth and perturbed": (),
    "perturbed alone": ('task.behaviours=["perturbed"]', "task.perturbations=2"),
}


@dataclass(frozen=True)
class Line:
    """One line of the table: an algorithm on some data, with all of its seeds.

    Attributes:
        name: Algorithm and rewards.
        data: What it learns from after the start.
        plans: Seed to plan.
    """

    name: str
    data: str
    plans: dict[int, RunPlan]


def lines(seeds: Sequence[int], preset: str, results: Path) -> list[Line]:
    """Every line, planned."""
    return [
        Line(
            name,
            data,
            {s: make_plan(Request(algo, TASK, None, s, preset, (*own, *shared), results=results)) for s in seeds},
        )
        for data, shared in DATA.items()
        for name, (algo, own) in ALGORITHMS.items()
    ]


def finished(plan: RunPlan, cell: CellPlan) -> bool:
    """Trained and evaluated."""
    return is_done(cell.folder) and is_done(plan.eval_folder(cell))


def command(name: str, data: str, seed: int, preset: str, results: Path) -> list[str]:
    """What a user would type for one cell."""
    algo, own = ALGORITHMS[name]
    words = ["run", "--algo", algo, "--task", TASK, "--seed", str(seed), "--preset", preset, "--results", str(results)]
    for assignment in (*own, *DATA[data]):
        words += ["--set", assignment]
    return words


def run_missing(seeds: Sequence[int], preset: str, results: Path) -> list[str]:
    """Run what is missing, seed by seed, so that every stop leaves whole columns.

    Returns:
        The cells that failed.
    """
    failed = []
    planned = lines(seeds, preset, results)
    for seed in seeds:
        for line in planned:
            plan = line.plans[seed]
            if finished(plan, plan.cell):
                continue
            words = command(line.name, line.data, seed, preset, results)
            say("$ shiqbench " + shlex.join(words))
            started = time.perf_counter()
            whole = [sys.executable, "-m", "shiqbench.cli", *words]
            code = subprocess.run(whole, stdout=sys.stderr, check=False).returncode  # noqa: S603 - words from above
            say(f"  exit {code} after {time.perf_counter() - started:.0f} s")
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code:
                failed.append(f"{line.name} ({line.data}), seed {seed}")
    return failed


def records(plan: RunPlan, cell: CellPlan) -> Any:
    """The evaluation's records, without transcripts."""
    import pandas as pd

    columns = [
        "scenario",
        "right_turns",
        "counted_turns",
        "valid",
        "assistant_messages",
        "parseable_messages",
        "tokens",
    ]
    return pd.read_parquet(plan.eval_folder(cell) / "records.parquet", columns=columns)


def against(frames: Sequence[Any], start: Any) -> str:
    """Scenarios in which the mean over seeds is above and below the start's, and the exact sign test."""
    theirs = sum(f.groupby("scenario").right_turns.sum() for f in frames) / len(frames)
    difference = theirs - start.groupby("scenario").right_turns.sum()
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    return f"{better} / {worse}, p = {sign_test(better, worse):.2f}"


def row(name: str, data: str, frames: Sequence[Any], versus: str, updates: str, seconds: str) -> str:
    """A row of the table; the interval is over scenarios, with the seeds of one scenario alike."""
    import pandas as pd

    together = pd.concat(frames)
    sums = together.groupby("scenario")[["right_turns", "counted_turns"]].sum()
    low, high = clustered_wilson(list(sums.right_turns), list(sums.counted_turns))
    share = sums.right_turns.sum() / sums.counted_turns.sum()
    means = [f.right_turns.sum() / f.counted_turns.sum() for f in frames]
    over_seeds = "[{:.3f}, {:.3f}]".format(*student(means)) if len(means) > 1 else "-"
    parse = together.parseable_messages.sum() / together.assistant_messages.sum()
    values = [
        name,
        data,
        str(len(frames)) if updates != "-" else "-",
        f"{share:.3f} [{low:.3f}, {high:.3f}]",
        over_seeds,
        versus,
        f"{together.valid.mean():.3f}",
        f"{parse:.2f}",
        f"{together.tokens.mean():.0f}",
        updates,
        seconds,
    ]
    return "| " + " | ".join(values) + " |"


HEAD = (
    "| algorithm | data after the start | seeds | right turns [95 %, scenarios] | [95 %, seeds] "
    "| scenarios better / worse than the start | valid | parseable | tokens an episode | updates | training s |"
)


def table(seeds: Sequence[int], preset: str, results: Path) -> str:
    """The table in markdown, and the cells that are missing from it."""
    planned = lines(seeds, preset, results)
    first = planned[0].plans[seeds[0]]
    start = first.cell.start
    assert start is not None
    rows, missing = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"], []
    start_frame = records(first, start) if finished(first, start) else None
    if finished(first, first.base):
        rows.append(row("`base`", "-", [records(first, first.base)], "-", "-", "-"))
    if start_frame is None:
        missing.append("the start")
    else:
        rows.append(row(f"`{start.algorithm.name}`, the start", "ground truth", [start_frame], "-", *spent([start])))
    for line in planned:
        there = [p for p in line.plans.values() if finished(p, p.cell)]
        gone = [str(s) for s, p in line.plans.items() if not finished(p, p.cell)]
        if gone:
            missing.append(f"{line.name} on {line.data}, seed {', '.join(gone)}")
        if there and start_frame is not None:
            frames = [records(p, p.cell) for p in there]
            versus = against(frames, start_frame)
            rows.append(row(line.name, line.data, frames, versus, *spent([p.cell for p in there])))
    reduced = "REDUCED setting, not comparable with the official one; " if first.cell.task_config.reduced() else ""
    notes = [f"{reduced}preset {preset}, {first.engine_version} {first.evaluation.summary()}."]
    notes.append("Missing cells: " + ("; ".join(missing) if missing else "none") + ".")
    return "\n".join([*rows, "", *notes])


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


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    chosen = parser.parse_args()
    failed = [] if chosen.table else run_missing(chosen.seeds, chosen.preset, chosen.results)
    sys.stdout.write(table(chosen.seeds, chosen.preset, chosen.results) + "\n")
    for name in failed:
        say(f"failed: {name}; its folder's error.json says why")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
