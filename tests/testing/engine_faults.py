"""The classes of a sound engine, and of engines that each break one line of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shiqbench.base.errors import DivergedError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.generation import Completion, Sampling


class Sound(TransformersEngine):
    name = "sound"


class Misnamed(Sound):
    name = "other"


class Wordless(Sound):
    def describe(self) -> dict[str, Any]:
        return {"engine": self}


class Short(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, replace(sampling, max_tokens=sampling.max_tokens - 1))


class Talkative(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts or [[1]], sampling)


class DropsStops(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = super().generate(prompts, sampling)
        return [replace(c, ids=c.ids[:-1], logprobs=c.logprobs[:-1]) if c.stopped else c for c in found]


class Unordered(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, sampling)[::-1]


class NeverGreedy(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, replace(sampling, temperature=1.0))


class WholeDistribution(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, replace(sampling, top_p=1.0))


class Tempered(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = super().generate(prompts, sampling)
        return [replace(c, logprobs=tuple(x / (sampling.temperature or 1) for x in c.logprobs)) for c in found]


class Uncertain(Sound):
    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[-1.0, *s[1:]] for s in super().score(sequences)]


class Shifted(Sound):
    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0, s[-1], *s[1:-1]] for s in super().score(sequences)]


class OneSeed(Sound):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, replace(sampling, seed=0))


class NoSeed(Sound):
    calls = 0

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        self.calls += 1
        return super().generate(prompts, replace(sampling, seed=self.calls))


class Stale(Sound):
    _first: Path | None = None

    def load(self, weights: Path) -> None:
        self._first = self._first or weights
        super().load(self._first)


class Unmoved(Sound):
    """Weights that are no numbers give it no pause."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        try:
            return super().generate(prompts, sampling)
        except DivergedError:
            return [Completion((1,), (0.0,), False)] * len(prompts)


class ClosesOnce(Sound):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


for _kind in Sound.__subclasses__():
    _kind.name = _kind.__name__ if _kind is not Misnamed else "other"
