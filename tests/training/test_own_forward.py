"""What training computes is what the model's own forward pass computes, for many families, or it is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.own_forward import largest_difference, sample, tolerance
from shiqbench.training.policy import Policy, load_model

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8, **SIZES}
MIXED = ["sliding_attention", "full_attention"]
SERVED: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "mistral": {"sliding_window": 8, "head_dim": 8, **SIZES},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, **SIZES},
    "qwen3": {"head_dim": 8, **SIZES},
    "phi3": {"sliding_window": 8, "pad_token_id": 0, **SIZES},
    "gemma2": {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, **GEMMA},
    "gemma3_text": {"layer_types": MIXED, **GEMMA},
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "attention_multiplier": 0.25, **SIZES},
    "cohere": {"logit_scale": 0.0625, **SIZES},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 8, "layer_types": MIXED, **SIZES},
    "olmo2": SIZES,
    "smollm3": {"pad_token_id": 0, **SIZES},
    "mixtral": {"num_local_experts": 4, **SIZES},
    "llama4_text": {"head_dim": 8, "attention_chunk_size": 8, "intermediate_size_mlp": 32, "num_local_experts": 2}
    | SIZES,
    "gpt2": GPT,
    "gpt_neox": {k: v for k, v in SIZES.items() if k != "num_key_value_heads"},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 16,
    },
}
NO_TRIE: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("cannot be replaced", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gptj": ("cannot be replaced", {"rotary_dim": 4, **GPT}),
    "gpt_oss": (
        "s_aux",
        {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, **SIZES},
    ),
    "lfm2": ("layers of kind conv", {"layer_types": ["conv", "full_attention"], **SIZES}),
    "mamba": ("layers of kind linear_attention", {"hidden_size": 32, "num_hidden_layers": 2}),
}


def made(folder: Path, family: str, values: dict[str, Any]) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, vocab_size=99, **values)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def sequences() -> list[TokenSequence]:
    rng = random.Random(0)
    return sample([TokenSequence(tuple(rng.randrange(3, 99) for _ in range(n)), (n - 1,)) for n in (40, 60)])


def policy(folder: Path, **settings: Any) -> Policy:
    config = TrainConfig.model_validate({"precision": "fp32", **settings})
    return Policy(load_model(folder, config), config)


@pytest.mark.parametrize("family", SERVED)
def test_training_computes_what_the_model_computes(tmp_path: Path, family: str) -> None:
    made(tmp_path, family, SERVED[family])
    for share_prefix in (True, False):
        assert largest_difference(policy(tmp_path, share_prefix=share_prefix), sequences()) < 2e-5
        in_bf16 = policy(tmp_path, share_prefix=share_prefix, precision="bf16")
        assert largest_difference(in_bf16, sequences()) < tolerance("bf16") / 5


@pytest.mark.parametrize("family", NO_TRIE)
def test_a_model_that_cannot_share_prefixes_is_refused_by_name(tmp_path: Path, family: str) -> None:
    reason, values = NO_TRIE[family]
    made(tmp_path, family, values)
    with pytest.raises(
        ConfigError, match=rf"cannot share prefixes: .*{reason}.*\(train.share_prefix\); set it to false"
    ):
        policy(tmp_path)(sequences())
    assert largest_difference(policy(tmp_path, share_prefix=False), sequences()) < 2e-5
