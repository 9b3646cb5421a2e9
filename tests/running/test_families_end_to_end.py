"""Eleven model families the whole way by one command: rendered, trained, exported, sampled and scored by vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from families import build
from support import TOY

from shiqbench.base.files import read_json

FAMILIES = (
    *("llama-3.2", "qwen2.5", "qwen3", "gemma-3", "zephyr", "phi-3", "granite-3"),
    *("gpt-oss", "glm-4-moe"),  # mixtures of experts
    *("olmo-2", "smollm3"),  # vLLM has no model of its own for them
)
SIZES = {"hidden_size": 128, "head_dim": 32}  # vLLM has no attention for smaller heads on a CPU
FILE = """
[matrix]
algorithms = ["shiq"]
tasks = ["toy"]
seeds = [0]
models = {models}

[set]
"train.updates" = 2
"train.precision" = "fp32"
"eval.engine" = "vllm"
"eval.precision" = "fp32"
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.vllm
def test_a_matrix_over_families(tmp_path: Path) -> None:
    """Each run compares the engine with the model's own forward pass, and fails if they differ."""
    folders = [str(build(family, tmp_path / family, sizes=SIZES)) for family in FAMILIES]
    file = tmp_path / "families.toml"
    file.write_text(FILE.format(models=json.dumps(folders)))
    words = ["-m", "shiqbench", "matrix", str(file), "--results", str(tmp_path / "results"), "--plugin", str(TOY)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    evaluations = list(tmp_path.glob("results/toy/shiq/*/eval/*/manifest.json"))
    assert len(evaluations) == len(FAMILIES)
    for path in evaluations:
        assert "vllm" in json.dumps(read_json(path)["engine"])
