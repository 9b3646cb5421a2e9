"""Raw logits of a model's own forward pass, for tasks whose evaluation reads the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.task import ActionLogits
from shiqbench.training.own_forward import check_policy
from shiqbench.training.policy import Policy, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import TokenSequence

PASS_TOKENS = 2048  # tokens per forward pass; bounds memory


@torch.no_grad()
def own_logits(
    weights: Path, sequences: Sequence[TokenSequence], precision: Literal["bf16", "fp32"]
) -> list[ActionLogits]:
    """Raw logits at every action token, under the weights of a folder.

    Common prefixes are computed once; a model that does not support this computes each sequence separately.

    Args:
        weights: Folder of the model.
        sequences: Sequences to compute.
        precision: Precision of the model's body; its head is fp32.

    Raises:
        ConfigError: The pass does not compute what the model itself computes.
    """
    for share in (True, False):
        config = TrainConfig(precision=precision, share_prefix=share, micro_tokens=PASS_TOKENS)
        policy = Policy(load_model(weights, config), config)
        policy.to("cuda" if torch.cuda.is_available() else "cpu")
        try:
            check_policy(policy, sequences)
        except ConfigError:
            if share:
                continue
            raise
        break
    return [ActionLogits(f.logit_N.tolist(), f.lse_N.tolist()) for f in policy(sequences)]
