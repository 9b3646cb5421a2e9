"""The reward model of a run: found in the registry, fitted to training pairs, measured on held-out ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import (
    Answered,
    ConfigError,
    Pair,
    Registry,
    RewardModel,
    RunError,
    held_out_accuracy,
    say,
    validate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig


@dataclass(frozen=True)
class HeldOut:
    """What the reward model is worth on pairs that it was not trained on.

    Attributes:
        right: Pairs that it orders as the data do.
        longer: Pairs whose better answer is the longer one: what length alone would get.
        pairs: All of them.
    """

    right: int
    longer: int
    pairs: int


class Scorer:
    """A reward model; scores are remembered, so that the same answer has the same score.

    Args:
        config: The task's.
        found: What is registered.

    Raises:
        ConfigError: There is no such reward model, or its settings are wrong.
    """

    def __init__(self, config: UltraFeedbackConfig, found: Registry) -> None:
        self._spec, name = found.reward(config.reward_model), config.reward_model
        settings = validate(self._spec.load_config(), config.reward, "task.reward")
        self.model: RewardModel[Any] = self._spec.load()(settings)
        self.identity = {
            "name": name,
            "version": self._spec.version,
            "config": settings.deciding(),
            "model": self.model.identity(),
            "plugin": found.origin("reward", name),
        }
        self._held_out_pairs = config.held_out_pairs
        self._known: dict[Answered, float] = {}

    def check(self, training: Sequence[Pair], validation: Sequence[Pair]) -> None:
        """What can be known before anything is written.

        Raises:
            ConfigError: There is no pair to measure the model on, or to fit it to, or the model is of no use.
        """
        for what, offered in (("train", training), ("validation", validation)):
            if not offered and (self.model.trains or what == "validation"):
                raise ConfigError(
                    f"no pair of differing ratings in {what}, for the reward model",
                    where="task.data",
                    do="give more data, or raise task.longest_prompt",
                )
        self.model.fetch()

    def fit(self, training: Sequence[Pair]) -> None:
        """Fit the model to training pairs, or find it fitted to them."""
        self.model.fit(training)

    def measure(self, training: Sequence[Pair], validation: Sequence[Pair]) -> HeldOut:
        """What the fitted model is worth on validation pairs, then on training pairs that it did not learn from."""
        unseen = training[len(self.model.learns_from(training)) :]
        held = [*validation, *unseen][: self._held_out_pairs]
        right, pairs = held_out_accuracy(self.model, held)
        longer = sum(len(p.better) > len(p.worse) for p in held)
        say(f"{self.identity['name']} orders {right} of {pairs} held-out pairs as the data do", None)
        return HeldOut(right, longer, pairs)

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """Rewards; only what was not judged before is computed.

        Raises:
            RunError: One is not a finite number.
        """
        new = list(dict.fromkeys(a for a in answered if a not in self._known))
        scores = self.model.score(new) if new else []
        for each, score in zip(new, scores, strict=True):
            if not math.isfinite(score):
                raise RunError(
                    f"{self.identity['name']} gives {score} to an answer",
                    where=f"{each.answer[:40]!r}",
                    do="take another reward model or precision",
                )
        self._known.update(zip(new, scores, strict=True))
        return [self._known[a] for a in answered]

    def facts(self) -> dict[str, Any]:
        """For manifests."""
        return {**self.identity, "facts": self.model.facts()}
