"""What an algorithm is: a pure loss over a batch, plus what it needs to be computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from shiqbench.plugin.config import AlgorithmConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from shiqbench.episodes.episode import Episode
    from shiqbench.plugin.batch import Batch

C = TypeVar("C", bound=AlgorithmConfig, covariant=True)  # an algorithm only reads its configuration
Unit = Literal["episode", "pair", "group"]
Need = Literal["values", "token_q", "mismatched", "best", "reference_returns", "behaviour_logp", "kl"]


@dataclass(frozen=True)
class Loss:
    """What :meth:`Algorithm.loss` returns; the trainer alone reduces it.

    The loss of an update is the sum of all numerators over the sum of all denominators,
    across micro-batches and processes, so that every split of a batch gives the same gradient.

    Attributes:
        numerator_U: One per unit, with gradient.
        denominator_U: One per unit, without.
        metrics: Name -> one value per unit (averaged over units).
    """

    numerator_U: Tensor
    denominator_U: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Algorithm(ABC, Generic[C]):
    """A fine-tuning algorithm.

    Args:
        config: Its hyper-parameters.

    Attributes:
        unit: What it consumes.
        uses_reference: False where the loss never reads the reference's statistics; they are not
            computed then, and the batch holds NaN in their place.
    """

    unit: ClassVar[Unit] = "episode"
    uses_reference: ClassVar[bool] = True

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def group_size(self) -> int:
        """Rows per unit; what ``unit = "group"`` overrides."""
        return 2 if self.unit == "pair" else 1

    @property
    def needs(self) -> frozenset[Need]:
        """What the task's data or the policy must offer; checked before anything is trained."""
        return frozenset()

    @property
    def temperature(self) -> float | None:
        """The beta of the objective ``E[R] - beta KL(pi || pi_ref)`` whose optimum the loss claims to have.

        The claim is for full coverage and deterministic transitions, and exact tasks test it. None claims nothing.
        """
        return None

    @property
    def loss_at_reference(self) -> float | None:
        """The loss while the policy is the reference, where that is one number whatever the batch; None states none."""
        return None

    @property
    def sampling_q_weight(self) -> float:
        """What is sampled from is ``softmax(l + weight * Q)``; other than 0 only with ``token_q``."""
        return 0.0

    @property
    def target_rate(self) -> float:
        """After each update the target Q head moves by this share towards the Q head."""
        return 0.0

    def select(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes that this algorithm learns from; all by default."""
        return list(episodes)

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The loss of every unit in a batch. Pure: no state, no randomness, no I/O."""


def accepted(episodes: Sequence[Episode], rule: Literal["best", "threshold"], threshold: float = 0.0) -> list[Episode]:
    """The acceptance rule of supervised and binary methods.

    Args:
        episodes: Candidates.
        rule: ``best`` keeps the episodes with the highest return of each group, ``threshold``
            those whose return exceeds ``threshold``.
        threshold: In units of return.
    """
    if rule == "threshold":
        return [e for e in episodes if e.total_reward > threshold]
    best: dict[str, float] = {}
    for e in episodes:
        best[e.group] = max(best.get(e.group, e.total_reward), e.total_reward)
    return [e for e in episodes if e.total_reward == best[e.group]]
