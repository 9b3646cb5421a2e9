"""An engine that answers from a list, to check a task's evaluation without a model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from shiqbench.episodes.generation import Completion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.generation import Sampling
    from shiqbench.episodes.rendering import Renderer

# In addition to the answers of the task's own episodes: nothing, nonsense, a number, empty structures, non-ASCII text.
ODD_ANSWERS = ("", "I do not know.", "A: 42", "[]", "{}", "<|im_end|>", "naïve ☃ 日本語")


class ScriptedGenerator:
    """Chooses an answer from a list by a digest of prompt and seed.

    Args:
        renderer: Turns answers into ids.
        answers: Answers to choose from.
    """

    name = "scripted"
    version = "scripted 1"

    def __init__(self, renderer: Renderer, answers: Sequence[str]) -> None:
        self.renderer, self.answers = renderer, list(answers)

    def load(self, weights: Path) -> None:
        """Do nothing: there are no weights."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer per prompt, cut at the token limit."""
        return [self._complete(prompt, sampling, i) for i, prompt in enumerate(prompts)]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability -1 for every token after the first."""
        return [[0.0, *(-1.0 for _ in s[1:])] for s in sequences]

    def describe(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": self.version}

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _complete(self, prompt: Sequence[int], sampling: Sampling, index: int) -> Completion:
        chosen = f"{list(prompt)}:{sampling.seed_of(index) if sampling.temperature else sampling.seed}"
        number = int.from_bytes(hashlib.sha256(chosen.encode()).digest()[:8], "big")
        text = self.answers[number % len(self.answers)]
        ids = self.renderer.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        whole = [*ids, self.renderer.end_of_turn]
        cut = tuple(whole[: sampling.max_tokens])
        return Completion(cut, (-1.0,) * len(cut), stopped=len(whole) <= sampling.max_tokens)
