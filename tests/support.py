"""Helpers of several tests: paths, a small matrix, and the comparable content of a results folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "data"
TOY = HERE / "toy" / "plugin.py"


def small_matrix(*algorithms: str) -> str:
    """Return a matrix file of mdp cells that train for seconds and write checkpoints."""
    return f"""
[matrix]
algorithms = {json.dumps(algorithms)}
tasks = ["mdp"]
seeds = [0, 1]
preset = "smoke"
[set]
"train.updates" = 200
"train.save_every" = 20
"""


def what_counts(results: Path) -> dict[str, Any]:
    """Return everything that must be equal: recipes, weights, curves without times, metrics, records."""
    found: dict[str, Any] = {}
    for file in sorted(results.rglob("*")):
        name = str(file.relative_to(results))
        if any(part.startswith(".") for part in file.relative_to(results).parts) or not file.is_file():
            continue
        if file.name in ("config.json", "metrics.json", "records.parquet") or file.suffix == ".safetensors":
            found[name] = file.read_bytes()
        elif file.name == "train.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        else:
            found[name] = "there"
    return found
