"""Load a causal language model so that it computes what its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def causal_model(folder: Path, dtype: torch.dtype) -> Any:
    """The causal language model of a folder, in evaluation mode.

    Transformers' default attention kernel does not soft-cap its scores, so a model that does (Gemma 2) gets the kernel
    that follows its configuration.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: The folder contains no causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    text = AutoConfig.from_pretrained(folder).get_text_config()
    capped = getattr(text, "attn_logit_softcapping", None) is not None
    kernel = {"attn_implementation": "eager"} if capped else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **kernel).eval()
