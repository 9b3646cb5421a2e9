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
    from collections.abc import Mapping, Sequence


FEW_PAIRS = 100  # 61 of these must be right to be better than chance


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
        name: Registered name of the reward model.
        settings: Its own settings.
        held_out_pairs: Pairs on which it is measured, at most.
        found: What is registered.

    Raises:
        ConfigError: There is no such reward model, or its settings are wrong.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], held_out_pairs: int, found: Registry) -> None:
        self._spec = found.reward(name)
        config = validate(self._spec.load_config(), settings, "task.reward")
        self.model: RewardModel[Any] = self._spec.load()(config)
        self.identity = {
            "name": name,
            "version": self._spec.version,
            "config": config.deciding(),
            "model": self.model.identity(),
            "plugin": found.origin("reward", name),
        }
        self._held_out_pairs = held_out_pairs
        self._known: dict[Answered, float] = {}

    def check(self, training: Sequence[Pair], validation: Sequence[Pair], do: str) -> None:
        """What can be known before anything is written.

        Args:
            training: Pairs to learn from.
            validation: Pairs to be measured on.
            do: What helps if there are none.

        Raises:
            ConfigError: There is no pair to measure the model on, or to fit it to, or the model is of no use.
        """
        for what, offered in (("train", training), ("validation", validation)):
            if not offered and (self.model.trains or what == "validation"):
                raise ConfigError(
                    f"no pair of differing ratings in {what}, for the reward model",
                    where="task.data",
                    do=do,
                )
        self.model.fetch()
        pairs = len(self._held_out(training, validation))
        if pairs < FEW_PAIRS:
            more = "; a lower task.reward.pairs leaves training pairs to measure on" if self.model.trains else ""
            say(f"the reward model is measured on {pairs} pairs only, which may not tell it from chance{more}", None)

    def _held_out(self, training: Sequence[Pair], validation: Sequence[Pair]) -> list[Pair]:
        """Validation pairs, then training pairs that the model does not learn from."""
        unseen = training[len(self.model.learns_from(training)) :]
        return [*validation, *unseen][: self._held_out_pairs]

    def fit(self, training: Sequence[Pair]) -> None:
        """Fit the model to training pairs, or find it fitted to them."""
        self.model.fit(training)

    def measure(self, training: Sequence[Pair], validation: Sequence[Pair]) -> HeldOut:
        """What the fitted model is worth on validation pairs, then on training pairs that it did not learn from."""
        held = self._held_out(training, validation)
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
