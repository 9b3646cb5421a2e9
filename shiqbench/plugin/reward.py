"""The base class of reward models: one number per answer. Some reward models are first trained on pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from shiqbench.plugin.config import RewardConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.episodes.episode import Message

C = TypeVar("C", bound=RewardConfig)


@dataclass(frozen=True)
class Answered:
    """A conversation and the answer to judge."""

    prompt: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the preferred one and the other one."""

    prompt: tuple[Message, ...]
    better: str
    worse: str


class RewardModel(ABC, Generic[C]):
    """A reward model. Importing its module imports no torch; :meth:`fit` and :meth:`score` may.

    Args:
        config: Settings of the reward model.
    """

    trains: ClassVar[bool] = False
    """Whether :meth:`fit` learns from its pairs. Then the model must not judge answers to the prompts of those."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the scores depend on in addition to name, version and settings, such as a model's sha256.

        Raises:
            ConfigError: This cannot be determined.
        """

    def fetch(self) -> None:
        """Get the files that the model needs; called before anything is written.

        Raises:
            ConfigError: The files are not available, or cannot be used.
        """

    def fit(self, pairs: Sequence[Pair]) -> None:
        """Learn from pairs, or take the result for the same pairs from the cache."""

    def learns_from(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The first pairs, which :meth:`fit` learns from; the model may be measured on the other pairs."""
        return pairs if self.trains else ()

    @abstractmethod
    def score(self, answered: Sequence[Answered]) -> list[float]:
        """One number per answer, higher for a better one.

        Raises:
            ConfigError: An answer is longer than the model can read; no answer is cut.
        """

    def facts(self) -> dict[str, Any]:
        """Facts about the model, for manifests."""
        return {}


def held_out_accuracy(model: RewardModel[Any], pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the pairs in which the model scores the better answer higher; equal scores do not count.

    Pairs of one text are left out: no model can be right about them.

    Returns:
        (right pairs, all pairs).
    """
    pairs = [p for p in pairs if p.better != p.worse]
    better = model.score([Answered(p.prompt, p.better) for p in pairs])
    worse = model.score([Answered(p.prompt, p.worse) for p in pairs])
    return sum(b > w for b, w in zip(better, worse, strict=True)), len(pairs)
