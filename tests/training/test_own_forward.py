"""What training computes is what the model's own forward pass computes, for many families, or it is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support import SIZES as SMALL

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training import policy as policy_module
from shiqbench.training import prefix_sharing
from shiqbench.training.own_forward import check_policy, largest_difference, sample, tolerance
from shiqbench.training.policy import Policy, load_model

SIZES: dict[str, Any] = {**SMALL, "initializer_range": 0.2}
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


def test_the_sample_branches_and_has_several_lengths() -> None:
    first, second, branch = (s.ids for s in sequences())
    assert len({len(first), len(second), len(branch)}) > 1
    shared = prefix_sharing.common_prefix(first, branch)
    assert 0 < shared < min(len(first), len(branch))
    (alone,) = sample([TokenSequence((5, 6), (1,))] * 3)[:1]
    assert alone == TokenSequence((5, 6), (1,))


def test_what_is_compared_is_recorded(tiny_model: Path) -> None:
    facts = check_policy(policy(tiny_model, precision="bf16"), sequences())
    assert {p: f["tolerance"] for p, f in facts.items()} == {"fp32": 5e-3, "bf16": 0.5}
    assert 0 < facts["fp32"]["difference"] < 1e-5
    # Equal on a processor without bf16, seen with AVX2 only.
    assert facts["fp32"]["difference"] <= facts["bf16"]["difference"] < 0.1


def without_the_last_step(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model.get_output_embeddings()(hidden)
    return found


@pytest.mark.parametrize("family", ["granite", "cohere", "gemma2"])
def test_a_dropped_scale_or_cap_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    checked = policy(made(tmp_path, family, SERVED[family]))
    monkeypatch.setattr(policy_module, "logits", without_the_last_step)
    with pytest.raises(
        ConfigError, match=r"CausalLM itself: they differ by \d.* in fp32.*the logits after the model's body"
    ):
        check_policy(checked, sequences())


def shifted(mask_function: Any, **_: Any) -> Any:
    """A token does not see the one before it."""
    return lambda b, h, q, k: mask_function(b, h, q, k) & (k != q - 1)


def without_a_window(mask_function: Any, **_: Any) -> Any:
    return lambda b, h, q, k: k <= q


@pytest.mark.parametrize(("family", "fault"), [("llama", shifted), ("gpt2", shifted), ("mistral", without_a_window)])
def test_a_wrong_mask_of_shared_prefixes_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, fault: Any
) -> None:
    monkeypatch.setattr(prefix_sharing, "path_mask", fault)
    made(tmp_path, family, SERVED[family])
    with pytest.raises(ConfigError, match=r"the cause is .*shared prefixes.*set train.share_prefix=false"):
        check_policy(policy(tmp_path), sequences())
    check_policy(policy(tmp_path, share_prefix=False), sequences())


def test_a_recurrent_layer_that_does_not_know_the_trie_is_stopped(tmp_path: Path) -> None:
    made(tmp_path, "recurrent_gemma", {"attention_window_size": 8, "lru_width": 32, **SIZES})
    with pytest.raises(ConfigError, match=r"RecurrentGemmaForCausalLM cannot share prefixes.* recurrent "):
        policy(tmp_path)
    check_policy(policy(tmp_path, share_prefix=False), sequences())


def test_a_model_that_sees_later_tokens_is_stopped(tmp_path: Path) -> None:
    made(tmp_path, "llama", {**SIZES, "is_causal": False})
    with pytest.raises(ConfigError, match=r"attention to later tokens .*; use a model with causal attention"):
        check_policy(policy(tmp_path, share_prefix=False), sequences())


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 1e4}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("phi3", {"pad_token_id": 0, "rope_parameters": LONG, "original_max_position_embeddings": 50}),
        ("llama", {"max_position_embeddings": 50, "rope_parameters": DYNAMIC}),
    ],
)
def test_positions_that_depend_on_the_other_texts_of_a_pass_are_refused(
    tmp_path: Path, family: str, values: dict[str, Any]
) -> None:
    checked = policy(made(tmp_path, family, {**SIZES, **values}))
    short, long = (TokenSequence(tuple(range(5, 5 + n)), (n - 1,)) for n in (50, 51))
    check_policy(checked, [short])
    with pytest.raises(ConfigError, match=r"an episode has 51 tokens, and beyond 50 the \w+ positions of .*leave out"):
        check_policy(checked, [short, long])


def test_a_weight_that_is_no_number_is_stopped(tiny_model: Path) -> None:
    checked = policy(tiny_model)
    with torch.no_grad():
        next(checked.model.parameters()).view(-1)[7::32] = float("nan")
    with pytest.raises(ConfigError, match=r"differ by nan .*weights that are no numbers"):
        check_policy(checked, sequences())


def test_a_soft_capped_model_cannot_sample_from_a_q_head(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="soft-capped"):
        check_policy(policy(made(tmp_path, "gemma2", SERVED["gemma2"])), sequences(), q_weight=1.0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_checkpointing_recomputes_every_layer_and_changes_no_gradient(
    tmp_path: Path, family: str, lora_rank: int
) -> None:
    made(tmp_path, family, SERVED[family] | ({"dropout": 0.5} if family == "opt" else {}))
    computed: list[int] = []
    gradients = []
    for checkpointing in (False, True):
        found = policy(tmp_path, checkpointing=checkpointing, lora_rank=lora_rank if family == "llama" else 0)
        parts = [m for n, m in found.named_modules() if n.endswith((".self_attn", ".attn"))]
        computed.append(0)
        for part in parts:
            part.register_forward_pre_hook(lambda *_: computed.__setitem__(-1, computed[-1] + 1))
        loss: Any = torch.stack([(s.logit_N - s.lse_N).sum() for s in found(sequences())]).sum()
        loss.backward()
        gradients.append([p.grad for p in found.parameters() if p.grad is not None])
        assert not any(m.training for m in found.model.modules() if isinstance(m, torch.nn.Dropout))
    assert computed == [2, 4]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-6, rtol=1e-5)


def test_a_model_without_known_layers_cannot_be_recomputed() -> None:
    with pytest.raises(ConfigError, match=r"Linear cannot be recomputed \(train.checkpointing\); set it to false"):
        policy_module.recompute_layers(torch.nn.Linear(2, 2))
