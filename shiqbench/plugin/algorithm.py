"""The base class of algorithms: a pure loss over a batch, and the inputs that the loss needs."""

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
Pairs = Literal["all", "one_turn"]
Need = Literal["values", "token_q", "mismatched", "best", "turns", "reference_returns", "behaviour_logp", "kl"]


@dataclass(frozen=True)
class Loss:
    """The result of :meth:`Algorithm.loss`; only the trainer reduces it.

    The loss of an update is the sum of all numerators over the sum of all denominators,
    across micro-batches and processes, so that every split of a batch gives the same gradient.

    Attributes:
        numerator_U: One value per unit, with gradient.
        denominator_U: One value per unit, without gradient.
        metrics: Metric name -> one value per unit (averaged over units).
    """

    numerator_U: Tensor
    denominator_U: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Algorithm(ABC, Generic[C]):
    """A fine-tuning algorithm.

    Args:
        config: Hyper-parameters of the algorithm.

    Attributes:
        unit: The unit that the loss consumes: an episode, a pair, or a group.
        uses_reference: False if the loss never reads the reference's statistics. Then they are not computed,
            and the batch contains NaN in their place.
    """

    unit: ClassVar[Unit] = "episode"
    uses_reference: ClassVar[bool] = True

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def group_size(self) -> int:
        """Rows per unit; a class with ``unit = "group"`` overrides this."""
        return 2 if self.unit == "pair" else 1

    @property
    def pairs(self) -> Pairs:
        """Which pairs of a group are units, if ``unit`` is a pair: ``all`` whose returns differ, or those ``one_turn``.

        Episodes of ``one_turn`` are equal up to a message of the model, and differ in this message only.
        """
        return "all"

    @property
    def needs(self) -> frozenset[Need]:
        """Inputs that the task's data or the policy must offer; checked before training starts."""
        return frozenset()

    @property
    def temperature(self) -> float | None:
        """Beta of the objective ``E[R] - beta KL(pi || pi_ref)``; the loss claims to have the same optimum.

        The claim assumes full coverage and deterministic transitions; exact tasks test it. None makes no claim.
        """
        return None

    @property
    def loss_at_reference(self) -> float | None:
        """The loss while the policy equals the reference, if it is the same number for every batch; otherwise None."""
        return None

    @property
    def sampling_q_weight(self) -> float:
        """Sampling uses ``softmax(l + weight * Q)`` with logits ``l``; a weight other than 0 needs ``token_q``."""
        return 0.0

    @property
    def log_ratio_is_known(self) -> bool:
        """Whether a batch tells how far the sampled policy is from the reference: it has its statistics, and no Q."""
        return self.uses_reference and not self.sampling_q_weight

    @property
    def target_rate(self) -> float:
        """Share by which the target Q head moves towards the Q head after each update."""
        return 0.0

    def select(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes that this algorithm learns from; all by default."""
        return list(episodes)

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The loss of every unit in a batch. Pure: no state, no randomness, no I/O."""


def accepted(episodes: Sequence[Episode], rule: Literal["best", "threshold"], threshold: float = 0.0) -> list[Episode]:
    """Select episodes by the acceptance rule of supervised and binary methods.

    Args:
        episodes: Candidates.
        rule: ``best`` keeps the episodes with the highest return of each group, ``threshold``
            those whose return exceeds ``threshold``.
        threshold: Limit of the ``threshold`` rule, in units of return.
    """
    if rule == "threshold":
        return [e for e in episodes if e.total_reward > threshold]
    best: dict[str, float] = {}
    for e in episodes:
        best[e.group] = max(best.get(e.group, e.total_reward), e.total_reward)
    return [e for e in episodes if e.total_reward == best[e.group]]
