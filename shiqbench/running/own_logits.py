"""Raw logits of a model's own forward pass, for tasks whose evaluation reads the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from shiqbench.base.cache import cache_dir
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.evaluation_context import ActionLogits
from shiqbench.training.own_forward import check_policy
from shiqbench.training.reference import ReferenceCache
from shiqbench.training.settled import load_policy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import TokenSequence
    from shiqbench.training.policy import Policy
    from shiqbench.training.token_statistics import TokenStatistics

PASS_TOKENS = 2048  # tokens per forward pass; bounds memory


@torch.no_grad()
def own_logits(
    weights: Path,
    sequences: Sequence[TokenSequence],
    precision: Literal["bf16", "fp32"],
    kept_as: str | None = None,
) -> list[ActionLogits]:
    """Raw logits at every action token, under the weights of a folder.

    Common prefixes are computed once; a model that does not support this computes each sequence separately.

    Args:
        weights: Folder of the model.
        sequences: Sequences to compute.
        precision: Precision of the model's body; its head is fp32.
        kept_as: Identity of these weights if other cells will ask for the same logits: they are then kept with the
            statistics of references.

    Raises:
        ConfigError: The pass does not compute what the model itself computes.
    """
    policy, _ = load_policy(weights, TrainConfig(precision=precision, micro_tokens=PASS_TOKENS))
    policy.to("cuda" if torch.cuda.is_available() else "cpu")
    check_policy(policy, sequences)
    found = policy(sequences) if kept_as is None else _kept(policy, sequences, kept_as)
    return [ActionLogits(f.logit_N.tolist(), f.lse_N.tolist()) for f in found]


def _kept(policy: Policy, sequences: Sequence[TokenSequence], weights_sha256: str) -> list[TokenStatistics]:
    cache = ReferenceCache(cache_dir() / "reference", weights_sha256, policy)
    try:
        cache.fill_sequences(sequences, lambda done, total: None)
        return [cache.of(s) for s in sequences]
    finally:
        cache.close()
