"""What an algorithm is: a pure loss over a batch, plus what it needs to be computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from shiqbench.config import AlgorithmConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from shiqbench.batch import Batch
    from shiqbench.episode import Episode

C = TypeVar("C", bound=AlgorithmConfig)
Unit = Literal["episode", "pair", "group"]


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
        group_size: Rows per unit where ``unit`` is ``group``.
        needs: What the task or policy must offer: ``values``, ``token_q``, ``mismatched``,
            ``reference_returns``, ``behaviour_logp``, ``kl``.
        uses_reference: False where the loss never reads the reference's statistics; they are not
            computed then, and the batch holds NaN in their place.
    """

    unit: ClassVar[Unit] = "episode"
    group_size: int = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    uses_reference: ClassVar[bool] = True

    def __init__(self, config: C) -> None:
        self.config = config

    def select(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes that this algorithm learns from; all by default."""
        return list(episodes)

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The loss of every unit in a batch. Pure: no state, no randomness, no I/O."""
