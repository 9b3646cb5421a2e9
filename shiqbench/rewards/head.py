"""A linear head on frozen features, fitted to pairs. Legend: P pairs, B answers (2 P when fitting), F features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.models.loading import load
from shiqbench.rewards import encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench.plugin.reward import Answered
    from shiqbench.rewards.config import BradleyTerryConfig

NEWTON_STEPS = 50
TOLERANCE = 1e-10  # gradient norm per pair at which the descent ends


@torch.inference_mode()
def frozen_features(folder: Path, answered: Sequence[Answered], config: BradleyTerryConfig) -> Tensor:
    """Features of every answer, [B, F] in fp64; layers above ``config.layer`` are not computed.

    Raises:
        ConfigError: The model has fewer layers, or does not keep them where decoders do.
    """
    from transformers import AutoModel

    body: Any = load(AutoModel, folder, encoder.dtype(config.precision))
    layers = getattr(body, "layers", None)
    if config.layer is not None:
        if layers is None or len(layers) < config.layer:
            there = "no list of layers" if layers is None else f"{len(layers)} layers"
            raise ConfigError(f"the model has {there}", where=f"task.reward.layer = {config.layer}", do="lower it")
        body.layers = layers[: config.layer]
        body.norm = torch.nn.Identity()  # it belongs to the last layer
    body = body.to(encoder.device()).eval()
    sequences = encoder.render_answers(folder, answered, int(body.config.max_position_embeddings))
    found: dict[int, Tensor] = {}
    for members in encoder.batches(sequences, config.batch_tokens):
        group = [sequences[i] for i in members]
        found.update(zip(members, encoder.features(encoder.hidden(body, group), group).cpu().double(), strict=True))
    return torch.stack([found[i] for i in range(len(sequences))])


def fit_head(features_BF: Tensor, l2: float) -> dict[str, Any]:
    """Solve the penalised Bradley-Terry problem by Newton's method with step halving.

    Args:
        features_BF: Features of the better and the worse answer of each pair, pair after pair, fp64.
        l2: Penalty on the weights of standardised features, as a number of pairs.

    Returns:
        ``weight`` for raw features, and facts about the fit; JSON can hold all of it.
    """
    spread_F = features_BF.std(0)
    scale_F = torch.where(spread_F > 1e-9, spread_F, torch.inf)  # a feature that never varies gets no weight
    difference_PF = (features_BF[0::2] - features_BF[1::2]) / scale_F
    pairs, width = difference_PF.shape

    def loss(weight_F: Tensor) -> Tensor:
        margins_P = difference_PF @ weight_F
        return torch.nn.functional.softplus(-margins_P).sum() + l2 / 2 * weight_F.square().sum()

    weight_F = torch.zeros(width, dtype=features_BF.dtype)
    for _ in range(NEWTON_STEPS):
        wrong_P = torch.sigmoid(-(difference_PF @ weight_F))
        gradient_F = l2 * weight_F - difference_PF.T @ wrong_P
        if float(gradient_F.norm()) < TOLERANCE * pairs:
            break
        curvature_P = wrong_P * (1 - wrong_P)
        hessian_FF = difference_PF.T @ (curvature_P[:, None] * difference_PF) + l2 * torch.eye(width).to(weight_F)
        step_F = torch.linalg.solve(hessian_FF, gradient_F)
        size = 1.0
        while float(loss(weight_F - size * step_F)) > float(loss(weight_F)) and size > 1e-6:
            size /= 2
        weight_F = weight_F - size * step_F
    right = float((difference_PF @ weight_F > 0).double().mean())
    return {"weight": (weight_F / scale_F).tolist(), "pairs": pairs, "training_accuracy": right}


def apply(head: dict[str, Any], features_BF: Tensor) -> list[float]:
    """Rewards of answers from their raw features."""
    found: list[float] = (features_BF @ torch.tensor(head["weight"], dtype=features_BF.dtype)).tolist()
    return found
