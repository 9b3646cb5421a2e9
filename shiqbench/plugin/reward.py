"""What a reward model is: answers in, one number each out; some of them are trained on pairs first."""

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
    """A conversation and the answer to be judged."""

    prompt: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, of which somebody preferred one."""

    prompt: tuple[Message, ...]
    better: str
    worse: str


class RewardModel(ABC, Generic[C]):
    """A reward model. Importing its module imports no torch; :meth:`fit` and :meth:`score` may.

    Args:
        config: Its settings.
    """

    trains: ClassVar[bool] = False
    """Whether it learns from the pairs that :meth:`fit` is given; it may not judge answers to their prompts then."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its scores depend on beside name, version and settings, such as a model's sha256.

        Raises:
            ConfigError: That cannot be had.
        """

    def fetch(self) -> None:
        """Get what it needs; called before anything is written.

        Raises:
            ConfigError: That cannot be had, or is of no use.
        """

    def fit(self, pairs: Sequence[Pair]) -> None:
        """Learn from pairs, or find in the cache what was learned from the same ones."""

    def learns_from(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Those of the pairs that :meth:`fit` learns from, the first ones; it may be measured on the rest."""
        return pairs if self.trains else ()

    @abstractmethod
    def score(self, answered: Sequence[Answered]) -> list[float]:
        """One number per answer, higher for a better one.

        Raises:
            ConfigError: An answer is longer than it can read; nothing is cut.
        """

    def facts(self) -> dict[str, Any]:
        """What manifests should tell of it."""
        return {}


def held_out_accuracy(model: RewardModel[Any], pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many of the pairs it orders as they are; equal scores are not right.

    Returns:
        (right, pairs).
    """
    better = model.score([Answered(p.prompt, p.better) for p in pairs])
    worse = model.score([Answered(p.prompt, p.worse) for p in pairs])
    return sum(b > w for b, w in zip(better, worse, strict=True)), len(pairs)
