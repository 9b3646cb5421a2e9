"""The weights that LoRA does not train, in a type that takes less memory than fp32.

The vocabulary head stays fp32 for any type, because the statistics of tokens are computed in fp32.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import MissingDependencyError
from shiqbench.models.loading import causal_model, without_weights

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.plugin.config import BaseWeights, TrainConfig

PACKAGE = "bitsandbytes"


def check_base_weights(config: TrainConfig) -> None:
    """Refuse a type of weights that needs a package which is not installed.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if config.base_weights == "int8" and importlib.util.find_spec(PACKAGE) is None:
        raise MissingDependencyError(
            f"{PACKAGE} is not installed",
            where="train.base_weights = int8",
            do="pip install 'shiqbench[int8]', or set train.base_weights=bf16",
        )


def load_base(folder: Path, kind: BaseWeights) -> Any:
    """The causal language model of a folder, with weights of this type and an fp32 head.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: The folder contains no such model.
    """
    if kind == "fp32":
        return causal_model(folder, torch.float32)
    model = causal_model(folder, torch.bfloat16, **(_int8(folder) if kind == "int8" else {}))
    model.get_output_embeddings().float()
    return model


def as_base(model: Any, kind: BaseWeights) -> Any:
    """A model without weights in the types that :func:`load_base` gives, except that int8 stays bf16."""
    model.to(torch.float32 if kind == "fp32" else torch.bfloat16)
    model.get_output_embeddings().float()
    return model


def _int8(folder: Path) -> dict[str, Any]:
    """Options of ``from_pretrained`` that load all linear layers in 8 bits, except the head."""
    from transformers import BitsAndBytesConfig

    logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # it says at every layer that inputs are rounded
    model = without_weights(folder)
    head = next(name for name, m in model.named_modules() if m is model.get_output_embeddings())
    device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {
        "quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[head]),
        "device_map": {"": device},
    }
