"""Engines that answer from a list, to check a task's evaluation without a model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from shiqbench.episodes.generation import Completion, text_reply

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.generation import Reply, Sampling
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
        text = _chosen(
            self.answers, f"{list(prompt)}:{sampling.seed_of(index) if sampling.temperature else sampling.seed}"
        )
        ids = self.renderer.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        whole = [*ids, self.renderer.end_of_turn]
        cut = tuple(whole[: sampling.max_tokens])
        return Completion(cut, (-1.0,) * len(cut), stopped=len(whole) <= sampling.max_tokens)


class ScriptedServer:
    """Does the same as a served model: only text.

    Args:
        answers: Answers to choose from.
    """

    name = "scripted"
    version = "scripted 1, served"
    max_usd: float | None = None

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.identity: Mapping[str, Any] = {"served": self.name}

    def chat(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, seeds: Sequence[int]
    ) -> Generator[tuple[int, Reply], None, None]:
        """One answer per conversation, the last one first; a character counts as a token."""
        for i in reversed(range(len(conversations))):
            asked = "".join(m.content for m in conversations[i])
            text = _chosen(self.answers, f"{asked}:{seeds[i] if sampling.temperature else 0}")[: sampling.max_tokens]
            cut = len(text) == sampling.max_tokens
            yield i, text_reply(text, prompt_tokens=len(asked), tokens=len(text), cut=cut)

    def usd(self, prompt_tokens: int, tokens: int) -> float:
        """Nothing."""
        return 0.0

    def describe(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": self.version}

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def _chosen(answers: Sequence[str], asked: str) -> str:
    number = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "big")
    return answers[number % len(answers)]
