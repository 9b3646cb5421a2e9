"""sft, dpo, copg, dro and shiq on ultrafeedback: same data, same budget, same start (the instruction-tuned model).

    python benchmarks/ultrafeedback_comparison.py --data FOLDER                   # one seed
    python benchmarks/ultrafeedback_comparison.py --data FOLDER --seeds 0 1 2     # the whole matrix; continues
    python benchmarks/ultrafeedback_comparison.py --data FOLDER --table > results/tables/ultrafeedback_comparison.md
    python benchmarks/ultrafeedback_comparison.py --data FOLDER --betas 0.3 1 3 --eval-every 10   # for fronts

A cell is one ``shiqbench run``, printed before it starts. What is done is not done again, a cell that fails costs
only itself, and the table names the cells that are missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from comparing import Comparison, Line, command_line, finished, records, spent, unfinished

from shiqbench.base.files import read_json
from shiqbench.stats.intervals import clustered_wilson, sign_test, student

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from shiqbench.planning.plan import CellPlan, RunPlan

TASK = "ultrafeedback"
ALGORITHMS = ("sft", "dpo", "copg", "dro", "shiq")
# What ties each to its reference; sft has no tie, its front is made of checkpoints alone.
STRENGTH = {"dpo": "beta", "copg": "beta", "dro": "tau", "shiq": "beta"}
COLUMNS = ("id", "reward", "base_reward", "win_base", "win_chosen", "k1", "k3", "tokens")
HEAD = (
    "| algorithm | seeds | reward [95 %, prompts] | [95 %, seeds] | gained over base [95 %, prompts] "
    "| prompts better / worse than base | wins base [95 %] | wins chosen | KL k3, nats an answer [95 %] | KL k1 "
    "| tokens | unique bigrams | updates | training s |"
)


def planned(chosen: argparse.Namespace) -> tuple[Comparison, list[Line]]:
    """Every line."""
    comparison = Comparison(TASK, chosen.preset, tuple(chosen.seeds), chosen.results)
    data = f"task.data={chosen.data}"
    lines = [comparison.line(a, a, (data,), eval_every=chosen.eval_every) for a in ALGORITHMS]
    for algorithm, key in STRENGTH.items():
        default = getattr(lines[0].plans[chosen.seeds[0]].found.algorithm(algorithm).load_config()(), key)
        for value in (default * factor for factor in chosen.betas if factor != 1):
            words = (data, f"algo.{key}={value:g}")
            lines.append(comparison.line(f"{algorithm}, {key} {value:g}", algorithm, words, "", chosen.eval_every))
    return comparison, lines


def options(parser: argparse.ArgumentParser) -> None:
    """Of this comparison alone."""
    parser.add_argument("--data", required=True, help="what task.data names")
    parser.add_argument(
        "--betas", type=float, nargs="+", default=[], help="also at these multiples of the default beta or tau"
    )
    parser.add_argument("--eval-every", type=int, help="a learning curve on validation, every N updates")


def by_prompt(frames: Sequence[Any]) -> Any:
    """Mean of every prompt over seeds and repeats."""
    import pandas as pd

    return pd.concat(frames).groupby("id")[list(COLUMNS[1:])].mean()


def mean(values: Sequence[float]) -> str:
    """A mean with Student's interval."""
    low, high = student(values)
    return f"{sum(values) / len(values):.3f} [{low:.3f}, {high:.3f}]"


def row(name: str, plans: Sequence[RunPlan], cells: Sequence[CellPlan], updates: str, seconds: str) -> str:
    """A row of the table; intervals are over prompts, with the seeds of one prompt averaged first."""
    frames = [records(p, c, COLUMNS) for p, c in zip(plans, cells, strict=True)]
    metrics = [read_json(p.eval_folder(c) / "metrics.json")["metrics"] for p, c in zip(plans, cells, strict=True)]
    prompts = by_prompt(frames)
    gained = list(prompts.reward - prompts.base_reward)
    better, worse = sum(g > 0 for g in gained), sum(g < 0 for g in gained)
    rewards = [float(f.reward.mean()) for f in frames]
    low, high = clustered_wilson(list(prompts.win_base), [1.0] * len(prompts))
    trained = updates != "-"
    values = [
        name,
        str(len(frames)) if trained else "-",
        mean(list(prompts.reward)),
        "[{:.3f}, {:.3f}]".format(*student(rewards)) if len(rewards) > 1 else "-",
        mean(gained) if trained else "-",
        f"{better} / {worse}, p = {sign_test(better, worse):.2g}" if trained else "-",
        f"{prompts.win_base.mean():.2f} [{low:.2f}, {high:.2f}]" if trained else "-",
        f"{prompts.win_chosen.mean():.2f}",
        mean(list(prompts.k3)) if trained else "-",
        f"{prompts.k1.mean():.3f}" if trained else "-",
        f"{prompts.tokens.mean():.0f}",
        f"{sum(m['unique_bigrams'] for m in metrics) / len(metrics):.2f}",
        updates,
        seconds,
    ]
    return "| " + " | ".join(values) + " |"


def table(comparison: Comparison, lines: Sequence[Line]) -> str:
    """The table in markdown, what the reward model is worth, and the cells that are missing from it."""
    first = lines[0].plans[comparison.seeds[0]]
    rows, missing = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"], unfinished(lines)
    said: list[str] = []
    if finished(first, first.base):
        rows.append(row("`base`", [first], [first.base], "-", "-"))
        metrics = read_json(first.eval_folder(first.base) / "metrics.json")["metrics"]
        said = [line.capitalize() + "." for line in first.task.notes(metrics)]
    for line in lines:
        there = [p for p in line.plans.values() if finished(p, p.cell)]
        if there:
            cells = [p.cell for p in there]
            rows.append(row(line.name, there, cells, *spent(cells)))
    reduced = "REDUCED setting; " if first.cell.task_config.reduced() else ""
    notes = [f"{reduced}preset {comparison.preset}, {first.engine_version} {first.evaluation.summary()}.", *said]
    notes.append("Missing cells: " + ("; ".join(missing) if missing else "none") + ".")
    return "\n".join([*rows, "", *notes])


if __name__ == "__main__":
    sys.exit(command_line(__doc__, planned, table, options))
