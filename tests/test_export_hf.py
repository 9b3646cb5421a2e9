"""Weights that leave: what transformers loads, and what the card says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import TOY

import shiqbench
from shiqbench.errors import ConfigError, CorruptCellError
from shiqbench.export import export


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Every test computes its own reference statistics."""


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
    assert card.count("| toy (") == 2  # test, and the curve's last point; not the snapshot's
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
    with pytest.raises(ConfigError, match="a policy of mdp's own is no language model"):
        export(str(exact.path), "hf", output=tmp_path / "out")
    weights = result.path / "checkpoint" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptCellError, match=r"model\.safetensors"):
        export(str(result.path), "hf", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
