"""Exported weights: transformers loads them, and the model card is correct."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import TOY

import shiqbench
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.commands.export import export
from shiqbench.testing.tiny_model import make_tiny_model


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Give every test its own cache, so that it computes its own reference statistics."""


def trained(model: Path, results: Path, algo: str = "dpo", **options: object) -> shiqbench.RunResult:
    return shiqbench.run(algo, "toy", model=str(model), results=results, plugins=(TOY,), **options)  # type: ignore[arg-type]


def test_transformers_loads_the_cells_weights(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = trained(tiny_model, tmp_path / "r", eval_every=3)
    done = export(str(result.path), "hf", output=tmp_path / "out", name="my model")
    ours, theirs = (AutoModelForCausalLM.from_pretrained(f) for f in (result.path / "checkpoint", done.folder))
    ids = torch.tensor([AutoTokenizer.from_pretrained(done.folder)("hello")["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
        assert not torch.equal(AutoModelForCausalLM.from_pretrained(tiny_model)(ids).logits, theirs(ids).logits)
    card = (done.folder / "README.md").read_text()
    assert card.startswith("---\nbase_model: ")
    assert "# my model" in card
    assert f"Cell `{result.path.name}`" in card
    assert "| algo.beta | " in card
    assert "Budget: 6 updates" in card
    primary = result.primary
    assert f"{primary['value']:.4g} [{primary['low']:.4g}, {primary['high']:.4g}]" in card
    assert card.count("| toy (") == 2  # the test result and the last point of the curve; not the snapshot
    assert {"README.md", "config.json", "model.safetensors", "shiqbench.json", "tokenizer.json"} <= set(done.files)


def test_what_has_no_weights_or_changed_ones_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    result = trained(tiny_model, tmp_path / "r", algo="sft")
    base = next((tmp_path / "r" / "toy" / "base").iterdir())
    with pytest.raises(ConfigError, match="base trained nothing"):
        export(str(base), "hf", output=tmp_path / "out")
    with pytest.raises(ConfigError, match="weights have no evaluation"):
        export(str(result.path), "hf", output=tmp_path / "out", evaluation="0")
    with pytest.raises(ConfigError, match="cannot be exported as 'hg', did you mean 'hf'"):
        export(str(result.path), "hg", plugins=(TOY,))
    exact = shiqbench.run("shiq", "mdp", preset="smoke", set={"train.updates": 2}, results=tmp_path / "r")
    with pytest.raises(ConfigError, match="the policy of mdp is not a language model"):
        export(str(exact.path), "hf", output=tmp_path / "out")
    weights = result.path / "checkpoint" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptCellError, match=r"model\.safetensors"):
        export(str(result.path), "hf", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_loads_the_folder_as_it_is_with_adapters_merged(tmp_path: Path) -> None:
    """A plain ``LLM(folder)`` generates the same greedy tokens as transformers with the weights of the cell."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = make_tiny_model(tmp_path / "start", hidden_size=128)
    settings = {"train.lora_rank": 2, "train.lr": 0.05, "train.updates": 3}
    result = trained(start, tmp_path / "r", algo="sft", set=settings)
    folder = export(str(result.path), "hf", output=tmp_path / "out").folder
    text = "hello"
    code = (
        "import json, sys; from vllm import LLM, SamplingParams\n"
        "llm = LLM(sys.argv[1], dtype='float32', enforce_eager=True, max_model_len=256)\n"
        "done = llm.generate([sys.argv[2]], SamplingParams(temperature=0, max_tokens=12, ignore_eos=True))\n"
        "print('IDS', json.dumps(list(done[0].outputs[0].token_ids)))"
    )
    few = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [sys.executable, "-c", code, str(folder), text]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **few}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("IDS")).removeprefix("IDS"))
    prompt = torch.tensor([AutoTokenizer.from_pretrained(folder)(text)["input_ids"]])
    for weights, equal in ((result.path / "checkpoint", True), (start, False)):
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        with torch.inference_mode():
            ids = model.generate(prompt, max_new_tokens=12, min_new_tokens=12, do_sample=False)
        assert (ids[0, prompt.shape[1] :].tolist() == found) is equal
