"""ShiQ's two rewards beside dpo, copg, dro and continued supervision on bfcl_v3: same start, same budget, same data.

    python benchmarks/bfcl_comparison.py                    # one seed
    python benchmarks/bfcl_comparison.py --seeds 0 1 2      # the whole matrix; continues where it was stopped
    python benchmarks/bfcl_comparison.py --seeds 0 1 2 --table > results/bfcl_v3_comparison.md

A cell is one ``shiqbench run``, printed before it starts. What is done is not done again, a cell that fails costs
only itself, and the table names the cells that are missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from comparing import Comparison, Line, command_line, finished, records, spent, unfinished

from shiqbench.stats.intervals import clustered_wilson, sign_test, student

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

TASK = "bfcl_v3"
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
    "perturbed only": ('task.behaviours=["perturbed"]', "task.perturbations=2"),
}


COLUMNS = ("scenario", "right_turns", "counted_turns", "valid", "assistant_messages", "parseable_messages", "tokens")


def planned(chosen: argparse.Namespace) -> tuple[Comparison, list[Line]]:
    """Every line."""
    comparison = Comparison(TASK, chosen.preset, tuple(chosen.seeds), chosen.results)
    return comparison, [
        comparison.line(name, algo, (*own, *shared), data)
        for data, shared in DATA.items()
        for name, (algo, own) in ALGORITHMS.items()
    ]


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


def table(comparison: Comparison, lines: Sequence[Line]) -> str:
    """The table in markdown, and the cells that are missing from it."""
    first = lines[0].plans[comparison.seeds[0]]
    start = first.cell.start
    assert start is not None
    rows = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"]
    missing = unfinished(lines)
    start_frame = records(first, start, COLUMNS) if finished(first, start) else None
    if finished(first, first.base):
        rows.append(row("`base`", "-", [records(first, first.base, COLUMNS)], "-", "-", "-"))
    if start_frame is None:
        missing.insert(0, "the start")
    else:
        rows.append(row(f"`{start.algorithm.name}`, the start", "ground truth", [start_frame], "-", *spent([start])))
    for line in lines:
        there = [p for p in line.plans.values() if finished(p, p.cell)]
        if there and start_frame is not None:
            frames = [records(p, p.cell, COLUMNS) for p in there]
            versus = against(frames, start_frame)
            rows.append(row(line.name, line.data, frames, versus, *spent([p.cell for p in there])))
    reduced = (
        "REDUCED setting: smaller or easier than the task's full one, not comparable with it; "
        if first.cell.task_config.reduced()
        else ""
    )
    notes = [f"{reduced}preset {comparison.preset}, {first.engine_version} {first.evaluation.summary()}."]
    notes.append("Missing cells: " + ("; ".join(missing) if missing else "none") + ".")
    return "\n".join([*rows, "", *notes])


if __name__ == "__main__":
    sys.exit(command_line(__doc__, planned, table))
