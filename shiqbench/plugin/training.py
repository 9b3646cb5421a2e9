"""The training of language models as a service, for exact tasks whose policy is a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from shiqbench.episodes.rendering import Rendered
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.batch import EpisodeUnit
    from shiqbench.plugin.config import AlgorithmConfig, TrainConfig

SAMPLED_HEAD = "sampled_head"


@dataclass(frozen=True)
class TrainedModel:
    """A language model after its training.

    Attributes:
        tensors: Its weights, and under ``sampled_head`` the vocabulary head of what is sampled from: its own head,
            plus :attr:`Algorithm.sampling_q_weight` times the Q head where there is one.
        updates: What the whole training consists of.
        tokens: Likewise.
        episodes: Likewise.
        resumed_at: Updates that were done before this call.
    """

    tensors: dict[str, Tensor]
    updates: int
    tokens: int
    episodes: int
    resumed_at: int


class ModelTraining(Protocol):
    """Trains a model on episodes as a cell of a language-model task does; its untrained weights are the reference."""

    def __call__(
        self,
        model: Module,
        rendered: Sequence[Rendered],
        units: Sequence[EpisodeUnit],
        algorithm: Algorithm[AlgorithmConfig],
        config: TrainConfig,
        seed: int,
        folder: Path,
        measure: Callable[[int, Tensor], dict[str, float]],
        report: Callable[[dict[str, Any], int], None],
    ) -> TrainedModel:
        """Train, from where an interrupted call in the same folder stopped; a finished training is only read.

        Args:
            model: Causal, of the transformers kind, fp32, untrained; changed here.
            rendered: All episodes in its tokens.
            units: What batches are drawn from, rows of ``rendered``.
            algorithm: Gives the loss.
            config: Budget and optimiser.
            seed: Of the order of training.
            folder: Gets ``train.jsonl`` and ``model.safetensors``.
            measure: Called after each update with updates done and the sampled head; it joins the log's line.
            report: Called with each line and the planned number of updates.
        """
