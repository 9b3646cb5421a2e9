"""Final weights as a folder that other tools load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.files import replacing_folder
from shiqbench.training.heads import fold_q
from shiqbench.training.policy import Policy, plain

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.episodes.rendering import Renderer


def save_weights(policy: Policy, source: Path, renderer: Renderer, target: Path, q_weight: float = 0.0) -> None:
    """Final weights as a folder that transformers and vllm load: LoRA merged, in the training precision.

    Args:
        policy: After training; changed here.
        source: The start's folder, for what the model was generated with.
        renderer: Its tokenizer is saved too.
        target: Replaced as a whole.
        q_weight: Of the Q head in what is sampled from; 0 leaves the vocabulary head as it is.
    """
    from transformers.utils import logging

    model: Any = policy.model
    if policy.config.lora_rank:
        model = model.merge_and_unload()
    model = plain(model)
    if q_weight:
        fold_q(model, policy.heads, q_weight)
    if policy.config.precision == "bf16":
        model = model.to(torch.bfloat16)
    logging.disable_progress_bar()
    with replacing_folder(target) as folder:
        model.save_pretrained(folder)
        for name, content in renderer.files.items():
            (folder / name).write_bytes(content)
        for name in ("generation_config.json", "chat_template.jinja"):
            if (source / name).is_file() and not (folder / name).exists():
                (folder / name).write_bytes((source / name).read_bytes())
