"""The training of language models as a function, for exact tasks whose policy is a language model."""

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
        tensors: Weights of the model. ``sampled_head`` is the vocabulary head that sampling uses: the model's own
            head, plus :attr:`Algorithm.sampling_q_weight` times the Q head if there is one.
        updates: Updates of the whole training.
        tokens: Tokens of the whole training.
        episodes: Episodes of the whole training.
        resumed_at: Updates that were done before this call.
        own_forward: For each precision compared before training, the largest ``difference`` of a token's
            log-probability from the model's own forward pass, and its ``tolerance``.
    """

    tensors: dict[str, Tensor]
    updates: int
    tokens: int
    episodes: int
    resumed_at: int
    own_forward: dict[str, dict[str, float]]


class ModelTraining(Protocol):
    """Trains a model on episodes like a cell of a language-model task; its untrained weights are the reference."""

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
        """Train, or continue an interrupted call in the same folder; the result of a finished training is only read.

        Args:
            model: Untrained causal model of transformers in fp32; the call changes it.
            rendered: All episodes in the model's tokens.
            units: Units that batches are drawn from; their rows are indices into ``rendered``.
            algorithm: Algorithm that computes the loss.
            config: Budget and optimiser.
            seed: Seed of the training order.
            folder: Folder for ``train.jsonl`` and ``model.safetensors``.
            measure: Called after each update with updates done and the sampled head; its numbers join the log's line.
            report: Called with each line and the planned number of updates.
        """
