"""A loaded model computes what its configuration says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import SIZES

from shiqbench.engines.transformers import TransformersEngine
from shiqbench.models.loading import causal_model, load

CAPPED = {
    **SIZES,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "initializer_range": 0.5,
    "vocab_size": 99,
    "pad_token_id": 0,
}
IDS = torch.arange(5, 45)[None]


def capped(folder: Path, family: str) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, attn_logit_softcapping=0.5, **CAPPED)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def without_cap(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attn_logit_softcapping": None}))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("gemma2", "AutoModel"),
        ("gemma2", "AutoModelForCausalLM"),
        ("gemma2", "AutoModelForSequenceClassification"),
        ("vaultgemma", "AutoModelForCausalLM"),
    ],
)
def test_attention_scores_are_capped(tmp_path: Path, family: str, kind: str) -> None:
    import transformers

    capped(tmp_path, family)

    def computed() -> torch.Tensor:
        torch.manual_seed(0)  # for a new head
        model: Any = load(getattr(transformers, kind), tmp_path, torch.float32)
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=IDS)[0]
        return found

    with_cap = computed()
    without_cap(tmp_path)
    assert (with_cap - computed()).abs().max() > 1e-3


def test_the_engine_caps_too(tmp_path: Path) -> None:
    capped(tmp_path, "gemma2")
    model = causal_model(tmp_path, torch.float32)
    with torch.no_grad():
        own = model(input_ids=IDS).logits[0, :-1].log_softmax(-1).gather(-1, IDS[0, 1:, None])[:, 0]
    (scores,) = TransformersEngine(tmp_path, precision="fp32", max_context=64).score([IDS[0].tolist()])
    torch.testing.assert_close(torch.tensor(scores[1:]), own, atol=1e-5, rtol=0)
