"""Helpers of several tests: paths, a small matrix, and the comparable content of a results folder."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "data"
TOY = HERE / "toy" / "plugin.py"
SIZES = {  # of a tiny model, for configurations of transformers
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def ask(
    *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, without a terminal; test_entry.py runs ``python -m shiqbench``."""
    from shiqbench.commands.app import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO())
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main(list(map(str, words)))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


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
