"""An engine with a stream: a token a step for every open prompt, at most ``slots`` prompts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import EngineError
from shiqbench.episodes.generation import Completion, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def answer(prompt: Sequence[int], sampling: Sampling, index: int = 0) -> Completion:
    """Depends on the prompt and the seed only; between 1 and ``max_tokens`` tokens."""
    mixed = sum(prompt) + sampling.seed_of(index)
    ids = tuple((mixed + i) % 50 for i in range(1 + mixed % sampling.max_tokens))
    return Completion(ids, (-0.5,) * len(ids), True)


class Stepping:
    """Counts its steps, and fails at one of them.

    Args:
        slots: Prompts at once.
        fails_at: Step at which it fails.
    """

    name, version = "stepping", "stepping 1"

    def __init__(self, slots: int = 4, fails_at: int | None = None) -> None:
        self.slots, self.fails_at = slots, fails_at
        self.steps = 0
        self.asked: list[tuple[int, ...]] = []
        self.open: dict[int, tuple[Completion, int]] = {}
        self.dropped = 0

    def load(self, weights: Path) -> None:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = [answer(p, sampling, i) for i, p in enumerate(prompts)]
        self.asked += map(tuple, prompts)
        self.steps += max((len(c.ids) for c in found), default=0)
        return found

    def stream(self) -> Stepping:
        return self

    def add(self, key: int, prompt: Sequence[int], sampling: Sampling) -> None:
        assert key not in self.open
        self.asked.append(tuple(prompt))
        self.open[key] = answer(prompt, sampling), 0

    def take(self) -> list[tuple[int, Completion]]:
        found: list[tuple[int, Completion]] = []
        while not found:
            if self.steps == self.fails_at:
                raise EngineError("out of memory", where="test", do="run again")
            self.steps += 1
            for key, (whole, at) in list(self.open.items())[: self.slots]:
                self.open[key] = whole, at + 1
                if at + 1 == len(whole.ids):
                    del self.open[key]
                    found.append((key, whole))
        return found

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0] * len(s) for s in sequences]

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}

    def close(self) -> None:
        self.dropped += len(self.open)
        self.open.clear()


class InCallsOnly(Stepping):
    """The same without a stream."""

    def stream(self) -> None:  # type: ignore[override]
        return None
