"""What each saving of training gains, and where the time goes with and without it.

    python benchmarks/savings.py [--pairs 8] [--passes 2] [--repeats 3] [--precision fp32]

``dpo`` trains the embedded model on pairs that share their prompt, as in ``benchmarks/peers``; every pair is visited
``passes`` times. Each case is a process of its own, and the cases take turns. Losses are compared with the first case
of a table: a saving may change roundings and nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from peers.training import BATCH, HEADS, Work, child, compared, ours, pairs, run_child

from shiqbench.base.machine import bf16_is_slow
from shiqbench.training import frozen_layers

RECOMPUTED = "lower layers computed in every pass"
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "the upper half is trained": {
        "all savings": {"top_layers": 15},
        RECOMPUTED: {"top_layers": 15},
        "the same, prefixes not shared": {"top_layers": 15, "share_prefix": False},
    },
    "all weights are trained": {
        "prefixes shared": {},
        "prefixes not shared": {"share_prefix": False},
        "activations recomputed": {"checkpointing": True},
    },
}


def without_kept_layers(work: Work, folder: Path) -> dict[str, Any]:
    """Train with no room for the outputs of the lower layers."""
    frozen_layers.LARGEST_BYTES = 0
    return ours(work, folder)


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """A row for each case: ratios to the first case, then the seconds of each part."""
    first = next(iter(runs.values()))
    totals = Counter[str]()
    for run in (r for each in runs.values() for r in each):
        totals.update(run["parts"])
    parts = [name for name, _ in totals.most_common()]
    heads = ["", *(head.format("first") for head in HEADS), *parts]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for case, found in runs.items():
        spent = [f"{statistics.median(f['parts'].get(name, 0.0) for f in found):.1f}" for name in parts]
        lines.append("| " + " | ".join([case, *compared(found, first), *spent]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all cases in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="if left out: bf16 where it is fast")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, file = options.child
        child(without_kept_layers if case == RECOMPUTED else ours, Path(file))
        return
    from shiqbench.models.embedded import embedded_model

    model = embedded_model()
    precision = options.precision or ("fp32" if bf16_is_slow() else "bf16")
    found = pairs(model, options.pairs) * options.passes
    steps = [found[i : i + BATCH] for i in range(0, len(found), BATCH)]
    for title, cases in TABLES.items():
        runs: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
        for _ in range(options.repeats):
            for case, train in cases.items():
                runs[case].append(run_child(__file__, case, Work(str(model), "dpo", precision, steps, train)))
        head = f"\ndpo in {precision}, {title}: {options.repeats} runs of {len(steps)} updates of {BATCH} pairs\n\n"
        sys.stdout.write(head + table(runs) + "\n")


if __name__ == "__main__":
    main()
