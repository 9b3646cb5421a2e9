"""What memory an engine takes, from the model's configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from shiqbench.engines.config import VllmConfig
from shiqbench.engines.transformers import ROW_TOKENS, TransformersEngine
from shiqbench.engines.vllm import ENVIRONMENT, GPU_SHARE, VllmEngine

if TYPE_CHECKING:
    from shiqbench.plugin.config import EngineConfig, EvalConfig

SPACE = "VLLM_CPU_KVCACHE_SPACE"


class EngineMemory(NamedTuple):
    """Bytes of an engine, by part.

    Attributes:
        weights: Weights in the precision of the evaluation.
        cache: Keys and values: for vLLM on a GPU of one context, which is the least that it starts with; on a CPU the
            space that it reserves; for transformers of the contexts that are decoded together.
        context: Keys and values of one context.
        share: Share of the memory that the engine may take.
    """

    weights: int
    cache: int
    context: int
    share: float = 1.0


def engine_memory(model: Any, evaluation: EvalConfig, settings: EngineConfig, *, gpu: bool) -> EngineMemory:
    """Estimate the memory of an engine; for an engine of a plugin, weights and one context.

    Args:
        model: Model without weights.
        evaluation: Settings of the evaluation, which name the engine.
        settings: Settings of that engine.
        gpu: Whether the engine runs on a GPU.
    """
    size = 2 if evaluation.precision == "bf16" else 4
    weights = size * sum(p.numel() for p in model.parameters())
    context = size * _cached_values(model, evaluation.max_context)
    if isinstance(settings, VllmConfig) and evaluation.engine == VllmEngine.name and gpu:
        weights, context = weights // settings.tensor_parallel, context // settings.tensor_parallel
        return EngineMemory(weights, context, context, settings.gpu_memory or GPU_SHARE)
    if evaluation.engine == VllmEngine.name:
        head = size * model.get_output_embeddings().weight.numel()  # vLLM's CPU build packs a copy of it
        return EngineMemory(weights + head, int(float(os.environ.get(SPACE, ENVIRONMENT[SPACE])) * 2**30), context)
    if evaluation.engine == TransformersEngine.name:
        rows = max(1, ROW_TOKENS // evaluation.max_context)
        return EngineMemory(weights, rows * context, context)
    return EngineMemory(weights, context, context)


def _cached_values(model: Any, tokens: int) -> int:
    """Keys and values of a context, in numbers; a layer with a window keeps no more tokens than the window has."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = min(tokens, getattr(config, "sliding_window", None) or tokens)
    kept = sum(window if kind == "sliding_attention" else tokens for kind in kinds)
    return int(2 * heads * size * kept)
