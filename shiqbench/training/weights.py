"""Save final weights in a folder that other tools can load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.files import replacing_folder
from shiqbench.training.heads import fold_q
from shiqbench.training.policy import Policy, load_model, plain

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from shiqbench.episodes.rendering import Renderer
    from shiqbench.plugin.algorithm import Need


def _on_whole_weights(policy: Policy, source: Path) -> Any:
    """The trained adapters on the start's own weights: merging into 8-bit weights would round every weight again."""
    config = policy.config.model_copy(update={"base_weights": "bf16"})
    model = load_model(source, config)
    model.load_state_dict({k: v for k, v in policy.model.state_dict().items() if "lora_" in k}, strict=False)
    return model


def gathered(policy: Policy, trained: dict[str, Any], source: Path, needs: Collection[Need]) -> Policy:
    """A policy on the CPU with the whole weights of a sharded one.

    Args:
        policy: Sharded policy.
        trained: Its state with whole tensors; without one, as in all processes except the main one, it is returned.
        source: Folder of the start.
        needs: Needs of the algorithm.
    """
    if not trained:
        return policy
    found = Policy(load_model(source, policy.config), policy.config, needs)
    found.load_state_dict(trained)
    found.clock = policy.clock
    return found


def save_weights(policy: Policy, source: Path, renderer: Renderer, target: Path, q_weight: float = 0.0) -> None:
    """Save final weights in a folder for transformers and vllm: LoRA merged, in the training precision.

    Args:
        policy: Trained policy; this function changes it.
        source: Folder of the start, for its generation config and chat template.
        renderer: Renderer whose tokenizer is saved too.
        target: Folder to write; it is replaced as a whole.
        q_weight: Weight of the Q head in the sampling distribution; 0 leaves the vocabulary head as it is.
    """
    from transformers.utils import logging

    model: Any = policy.model
    if policy.config.base_weights == "int8":
        model = _on_whole_weights(policy, source)
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
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        for name in ("generation_config.json", "chat_template.jinja"):
            if (source / name).is_file() and not (folder / name).exists():
                (folder / name).write_bytes((source / name).read_bytes())
