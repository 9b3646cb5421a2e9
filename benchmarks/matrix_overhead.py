"""Where the time of a matrix of many small cells goes: training, evaluation, starting once, and what each cell adds.

    python benchmarks/matrix_overhead.py                    # 200 cells of one update on bfcl_v3, preset smoke
    python benchmarks/matrix_overhead.py --cells 10 --json
    python benchmarks/matrix_overhead.py --data DIR         # on ultrafeedback, where bfcl_v3 cannot be fetched

The model has the embedded one's tokenizer and four layers with random weights, a few megabytes. One local worker with
engine transformers. Training is what `train.jsonl` says, reference the reference model's pass over what training visits
(another seed visits other episodes), evaluation what manifests call generation and finish; `once` is the rest of `base`
(imports, the first engine) and of the first cell that trains (data, reference, the start).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shiqbench
from shiqbench.base.cache import cache_dir
from shiqbench.base.files import read_json
from shiqbench.models.embedded import embedded_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.matrices.job import Outcome

ALGORITHMS = ("sft", "dpo", "copg", "shiq")
PARTS = ("training", "reference", "evaluation", "once", "overhead")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def small_model(folder: Path) -> Path:
    """The embedded model's tokenizer on a Llama of four layers with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    source = embedded_model()
    config = LlamaConfig.from_pretrained(source)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 32, 96, 4
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 8
    config.dtype = torch.float32
    logging.disable_progress_bar()
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in TOKENIZER:
        if (source / name).is_file():
            (folder / name).write_bytes((source / name).read_bytes())
    return folder


def own_cache(folder: Path) -> None:
    """A cache that holds the user's assets and none of his reference statistics, so that every run begins alike."""
    folder.mkdir()
    for name in ("wheels", "models", "datasets"):
        (cache_dir() / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(cache_dir() / name)
    os.environ["SHIQBENCH_CACHE"] = str(folder)


def matrix_of(cells: int, model: Path, data: Path | None) -> dict[str, Any]:
    """The untrained model and ``cells`` trained ones, as a matrix file would say it."""
    seeds = range(-(-cells // len(ALGORITHMS)))
    every = [{"algorithm": algorithm, "seed": seed} for seed in seeds for algorithm in ALGORITHMS]
    found: dict[str, Any] = {
        "matrix": {
            "algorithms": ["base", *ALGORITHMS],
            "tasks": ["bfcl_v3" if data is None else "ultrafeedback"],
            "models": [str(model)],
            "seeds": list(seeds),
            "preset": "smoke",
            "engine": "transformers",
        },
        "set": {"train.updates": 1, "train.top_layers": None},
        "start": {"train.top_layers": None, "train.updates": 1} if data is None else {},
        "exclude": every[cells:],
        "resources": {"cpus": 2},
    }
    if data is not None:
        found["set"]["task.data"] = str(data)
    return found


def spent(cell: Path) -> tuple[float, float, float]:
    """Seconds of training, of the reference's pass and of evaluation in a cell's folder."""
    log = cell / "train.jsonl"
    training = sum(json.loads(line)["seconds"] for line in log.read_text().splitlines()) if log.is_file() else 0.0
    reference = read_json(cell / "manifest.json").get("reference", {}).get("seconds", 0.0)
    seconds = [read_json(file)["seconds"] for file in cell.glob("eval/*/manifest.json")]
    return training, reference, sum(s["generation"] + s["finish"] for s in seconds)


def divide(outcomes: Sequence[Outcome], results: Path, wall: float) -> dict[str, Any]:
    """The wall time in its parts, in seconds.

    Raises:
        RuntimeError: A cell failed.
    """
    if bad := [o for o in outcomes if o.result is None]:
        raise RuntimeError(f"{bad[0].name}: {bad[0].error}")
    mine = {Path(o.result["path"]): o for o in outcomes if o.result is not None}
    of = {folder: spent(folder) for folder in results.glob("*/*/*/")}
    # One worker takes the untrained model first; the first that trains makes the start, which is no cell of the matrix.
    first = list(mine)[:2]
    once = sum(mine[f].seconds - sum(of[f]) for f in first) - sum(sum(of[f]) for f in of if f not in mine)
    training, reference, evaluation = (sum(parts) for parts in zip(*of.values(), strict=True))
    cells, overhead = len(outcomes) - 2, wall - training - reference - evaluation - once
    return {
        "cells": len(outcomes) - 1,
        "wall": wall,
        "training": training,
        "reference": reference,
        "evaluation": evaluation,
        "once": once,
        "overhead": overhead,
        "overhead_per_cell_ms": 1000 * overhead / cells,
        "overhead_percent": 100 * overhead / wall,
    }


def table(found: dict[str, Any]) -> str:
    """For reading."""
    rows = [f"{name:<12}{found[name]:8.1f} s  {100 * found[name] / found['wall']:5.1f} %" for name in PARTS]
    each = f"{found['overhead_per_cell_ms']:.0f} ms for each cell after the first"
    return "\n".join([f"{found['cells']} cells in {found['wall']:.1f} s", *rows, f"overhead: {each}", ""])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = small_model(folder / "model")
        own_cache(folder / "cache")
        matrix = matrix_of(chosen.cells, model, chosen.data)
        started = time.perf_counter()
        outcomes = shiqbench.matrix(matrix, results=folder / "results").cells
        found = divide(outcomes, folder / "results", time.perf_counter() - started)
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if chosen.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
