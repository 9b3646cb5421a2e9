"""The whole backbone trained on pairs, with a new linear head on the last token."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.progress import counting
from shiqbench.models.loading import load
from shiqbench.plugin.reward import Answered
from shiqbench.rewards import encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench.plugin.reward import Pair
    from shiqbench.rewards.config import BradleyTerryFullConfig


def train(source: Path, pairs: Sequence[Pair], config: BradleyTerryFullConfig, target: Path) -> None:
    """Train and save a sequence classifier with its tokenizer; torch's random state does not change.

    Weights stay fp32; under ``bf16`` the forward passes are autocast.

    Args:
        source: Folder of a causal language model.
        pairs: Pairs to learn from.
        config: Learning rate, epochs, batch.
        target: Existing folder to save to.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # for the new head
        model: Any = load(AutoModelForSequenceClassification, source, torch.float32, num_labels=1)
    model = model.to(encoder.device()).train()
    longest = int(model.config.max_position_embeddings)
    better = encoder.render_answers(source, [Answered(p.prompt, p.better) for p in pairs], longest)
    worse = encoder.render_answers(source, [Answered(p.prompt, p.worse) for p in pairs], longest)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0)
    order, shuffle = list(range(len(pairs))), random.Random(config.seed)
    for epoch in range(config.epochs):
        shuffle.shuffle(order)
        starts = range(0, len(order), config.batch_pairs)
        for start in counting(starts, f"training the reward model, epoch {epoch + 1} of {config.epochs}", len(starts)):
            update = order[start : start + config.batch_pairs]
            optimizer.zero_grad()
            for i in update:  # one pass per pair bounds memory for every batch size
                group = [better[i], worse[i]]
                with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    states_BD = encoder.at_end(encoder.hidden(model.base_model, group), group)
                reward_B = model.score(states_BD.float())[:, 0]
                loss: Tensor = torch.nn.functional.softplus(reward_B[1] - reward_B[0]) / len(update)
                torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
