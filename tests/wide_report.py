"""A report of real size, without a results folder: 20 rows, 14 columns, long labels and long notes."""

from __future__ import annotations

from pathlib import Path

from shiqbench.report.estimates import Difference, Estimate
from shiqbench.report.rows import Block, Report, Row
from shiqbench.store.index import CellEntry, EvaluationEntry, Index
from shiqbench.store.index.entries import Text

COLUMNS = (("gold", "gold reward", ".3f"), ("kl", "KL from the reference", ".2f"), ("length", "tokens", ".0f"))
LABELS = (
    "",
    "beta=0.0125 data.columns.prompt=instruction lr=1.5e-05",
    "data.sha256=0f6e5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f",
    "start=sft/0123456789ab the start beta=1.0 & 50% of_data #3 ~ ^x {y} <z> |w| β≥λ²",
)
NOTES = [
    "95 % intervals: over 200 examples and 3 seeds (df 3.2 to 17.1; shiq, dpo beta=0.0125); over 200 examples, these "
    "weights of 1 seed (df 199; base)",
    "UNEQUAL budgets (tokens): " + "; ".join(f"name_{i} beta=0.{i}: 9 updates, {i}.2e+06 tokens" for i in range(9)),
    "shiq lacks results: /a/very/long/path/of/a/folder/with_underscores/0123456789abcdef0123456789abcdef/metrics.json",
]  # fmt: skip
ALGORITHMS = ("shiq", "dpo", "reinforce_leave_one_out", "copg", "base")


def wide(rows: int = 20, labels: tuple[str, ...] = LABELS, notes: list[str] = NOTES) -> Report:
    """A report with one block; its values are between -12 and 12, its last row is the baseline."""
    made = [_row(i, labels[i % len(labels)]) for i in range(rows)]
    made[-1].difference = None
    block = Block(
        "ultrafeedback", "test", "vllm 0.32.1", "0123456789ab", {}, "mean_reward", True, COLUMNS, None, made, "base",
        list(notes),
    )  # fmt: skip
    return Report(Index(Path("results")), {}, [block], [])


def _row(i: int, label: str) -> Row:
    value = (12.0 - 1.23 * i) / 7
    algorithm = ALGORITHMS[i % len(ALGORITHMS)]
    evaluations = [_evaluation(algorithm, seed, value) for seed in range(3)]
    estimate = Estimate(value, value - 0.0612, value + 0.0634, "over 200 examples and 3 seeds", 12.0, 200)
    less = Estimate(value + 1.1, value + 0.98, value + 1.22, "over 200 examples and 3 against 3 seeds", 3.1, 200)
    p = (3e-5, 0.012, 0.5)[i % 3]
    difference = Difference(less, 3, 3, 200, 120 - i, 60, p, p_holm=min(1.0, 4 * p))
    return Row(algorithm, label, "some model", evaluations, estimate, False, difference, i == 2)


def _evaluation(algorithm: str, seed: int, value: float) -> EvaluationEntry:
    budget = {"updates": 1000, "tokens": 1_234_567}
    text = Text("0", '{"model": {}}')
    cell = CellEntry(
        f"ultrafeedback/{algorithm}/{seed}",
        text,
        seed,
        "m",
        None,
        4321.0,
        budget,
        {"policy": 1_234_567},
        None,
        None,
        "",
        "",
    )
    primary = {"name": "mean_reward", "value": value, "low": value, "high": value, "higher_is_better": True}
    metrics = {"mean_reward": value, "gold": value / 3, "kl": 12.345, "length": 213.0}
    return EvaluationEntry(f"{cell.folder}/eval/0", cell, text, None, primary, metrics, 61.0, False)
