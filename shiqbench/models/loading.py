"""Load a model of transformers so that it computes what its configuration says."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def causal_model(folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The causal language model of a folder; see :func:`load`."""
    from transformers import AutoModelForCausalLM

    return load(AutoModelForCausalLM, folder, dtype, **options)


def without_weights(folder: Path) -> Any:
    """The causal language model of a folder, whose tensors have a shape and no values.

    Raises:
        ConfigError: The folder contains no causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with refusing(folder), torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn what transformers raises for a folder that it cannot load into one line.

    Raises:
        ConfigError: The folder contains no such model.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load the model: {error}",
            where=str(folder),
            do="give a folder in the transformers format",
        ) from error
