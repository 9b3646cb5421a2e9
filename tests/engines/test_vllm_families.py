"""vLLM computes what a family's own model computes, before and after other weights, and leaves its class as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from families import build
from transformers import AutoModelForCausalLM

from shiqbench.engines.vllm import VllmEngine

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(1200)]
TEXT = [5, 6, 7, 8, 9, 10, 11]
SIZES = {"hidden_size": 128, "head_dim": 32}  # vLLM has no attention for smaller heads on a CPU


def own(folder: Path) -> list[float]:
    """Log-probability of each token but the first, by transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logp = model(input_ids=torch.tensor([TEXT])).logits[0, :-1].log_softmax(-1)
    found: list[float] = logp.gather(-1, torch.tensor(TEXT[1:])[:, None])[:, 0].tolist()
    return found


@pytest.mark.parametrize("family", ["qwen2.5", "olmo-2", "gpt-oss", "glm-4-moe"])
def test_other_weights_are_taken_whole(tmp_path: Path, family: str) -> None:
    """Mixtures of experts kept a part of the old weights; for OLMo 2, vLLM changes the class of transformers."""
    first, second = build(family, tmp_path / "first", sizes=SIZES), tmp_path / "second"
    model = AutoModelForCausalLM.from_pretrained(first, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * weight.std().nan_to_num(0.1) * torch.randn_like(weight))
    model.save_pretrained(second)
    engine = VllmEngine(first, precision="fp32", max_context=64)
    try:
        assert engine.score([TEXT])[0][1:] == pytest.approx(own(first), abs=1e-3)
        engine.load(second)
        assert own(second) != pytest.approx(own(first), abs=1e-2)
        assert engine.score([TEXT])[0][1:] == pytest.approx(own(second), abs=1e-3)
    finally:
        engine.close()
    assert not [kind for kind in type(model.get_decoder()).__mro__ if kind.__module__.startswith("vllm")]
