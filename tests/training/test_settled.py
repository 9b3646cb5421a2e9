"""Settings that a model's family decides: shared prefixes where its layers can share them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import SIZES

from shiqbench.episodes.rendering import TokenSequence
from shiqbench.models.loading import without_weights
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.own_forward import check_policy, sample
from shiqbench.training.policy import Policy, pretrained, trainable
from shiqbench.training.settled import settle

SHARING: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "mixtral": {"num_local_experts": 4},
}
NOT_SHARING: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_oss": ("s_aux", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}),
    "falcon_h1": ("", {"head_dim": 8, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16}),
    "recurrent_gemma": ("recurrent", {"attention_window_size": 8, "lru_width": 32}),
    "lfm2": ("conv", {"layer_types": ["conv", "full_attention"]}),
}


def made(folder: Path, family: str, values: dict[str, Any]) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, vocab_size=99, **SIZES, **values)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def texts() -> list[TokenSequence]:
    return sample([TokenSequence((5, 6, 7, 8, 9, 10, 11, 12), (7,)), TokenSequence((5, 6, 7, 30, 31), (4,))])


@pytest.mark.parametrize("family", SHARING)
def test_nothing_changes_for_a_model_that_shares(tmp_path: Path, family: str) -> None:
    made(tmp_path, family, SHARING[family])
    models: tuple[Any, ...] = (pretrained(tmp_path), without_weights(tmp_path))
    for model in models:
        own = model.config._attn_implementation
        assert settle(model, TrainConfig()) == (TrainConfig(), "")
        assert model.config._attn_implementation == own


@pytest.mark.parametrize("family", NOT_SHARING)
def test_a_model_that_cannot_share_is_trained_without(tmp_path: Path, family: str) -> None:
    reason, values = NOT_SHARING[family]
    made(tmp_path, family, values)
    config = TrainConfig(precision="fp32")
    assert not settle(without_weights(tmp_path), config).config.share_prefix
    model: Any = pretrained(tmp_path)
    own = model.config._attn_implementation
    settled, note = settle(model, config)
    assert model.config._attn_implementation == own
    assert reason in note
    assert note.endswith("; each text is computed in full")
    assert settled == config.model_copy(update={"share_prefix": False})
    check_policy(Policy(trainable(model, settled), settled), texts())


def test_what_is_switched_off_is_not_asked(tiny_model: Path) -> None:
    off = TrainConfig(share_prefix=False)
    assert settle(pretrained(tiny_model), off) == (off, "")
