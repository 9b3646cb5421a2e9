"""Load a model of transformers so that it computes what its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def load(kind: Any, folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The model of a folder, in evaluation mode.

    Transformers' default attention kernel does not soft-cap its scores. A model that does (Gemma 2) gets the kernel
    that follows its configuration.

    Args:
        kind: Class of transformers, such as ``AutoModel``.
        folder: Folder of the model.
        dtype: Type of the weights.
        options: Further options of ``from_pretrained``.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: The folder contains no such model.
    """
    from transformers import AutoConfig

    text = AutoConfig.from_pretrained(folder).get_text_config()
    if getattr(text, "attn_logit_softcapping", None) is not None:
        options["attn_implementation"] = "eager"
    return kind.from_pretrained(folder, dtype=dtype, **options).eval()


def causal_model(folder: Path, dtype: torch.dtype) -> Any:
    """The causal language model of a folder; see :func:`load`."""
    from transformers import AutoModelForCausalLM

    return load(AutoModelForCausalLM, folder, dtype)
