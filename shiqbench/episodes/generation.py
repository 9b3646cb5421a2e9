"""Text generation for tasks: conversations in, messages out.

An engine works on token ids (:class:`Generator`); a task works on messages.
:class:`ChatGenerator` connects them: it renders prompts and keeps the ids that the model sampled.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from shiqbench.base.errors import DivergedError
from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from collections.abc import Generator as Replies
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import Renderer


def mixed_seed(*parts: object) -> int:
    """Mix whole numbers and words to a seed."""
    mixed = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(mixed[:4], "big") % 2**31


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        max_tokens: Maximum number of tokens per completion.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Probability mass of the nucleus.
        seed: Seed of a call; completion i uses a seed derived from it and from i.
        stop_token_ids: Ids that end a completion; the stop id is kept as its last id.
        seeds: Seed of each completion, in place of those derived from ``seed``.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_token_ids: tuple[int, ...] = ()
    seeds: tuple[int, ...] | None = None

    def seed_of(self, index: int) -> int:
        """Return the seed of one completion: its own, or a mix of the call's seed and the completion's index."""
        return mixed_seed(self.seed, index) if self.seeds is None else self.seeds[index]


@dataclass(frozen=True)
class Completion:
    """An engine's answer to one prompt.

    Attributes:
        ids: Sampled ids, with the stop token if one was sampled.
        logprobs: Log-probability of each id under the unmodified model (temperature 1), same length as ``ids``.
        stopped: True if a stop token ended the completion, False if the token limit ended it.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


def check_finite(logprobs: Sequence[Sequence[float]], where: object) -> None:
    """Refuse log-probabilities that are not finite: such weights compute nothing, and their tokens mean nothing.

    Args:
        logprobs: Log-probabilities per sequence.
        where: Model folder, or name of the engine.

    Raises:
        DivergedError: One is not finite. A new engine would compute the same, so it is no failure of the machine.
    """
    bad = [x for row in logprobs for x in row if not math.isfinite(x)]
    if bad:
        of = sum(map(len, logprobs))
        raise DivergedError(
            f"{len(bad)} of {of} log-probabilities are not finite, such as {bad[0]}",
            where=str(where),
            do="look for values in the weights that are not finite; if there are none, use eval.precision=fp32",
        )


class CompletionStream(Protocol):
    """Prompts that an engine completes while others are added; one stream of an engine is open at a time.

    Attributes:
        slots: Number of prompts that the engine computes together; more than these wait.
    """

    slots: int

    def add(self, key: int, prompt: Sequence[int], sampling: Sampling) -> None:
        """Add a prompt; its seed is ``sampling.seed_of(0)``, and its key is that of no prompt that is still open."""

    def take(self) -> list[tuple[int, Completion]]:
        """Run the engine until at least one prompt is complete; return the complete ones with their keys."""

    def close(self) -> None:
        """Drop the prompts that are not complete."""


def stream_of(generator: object) -> CompletionStream | None:
    """Open a stream of an engine; None if it has none."""
    found: CompletionStream | None = getattr(generator, "stream", lambda: None)()
    return found


class Generator(Protocol):
    """An engine with loaded weights. Log-probabilities that are not finite are a :class:`DivergedError`.

    An engine may also have ``stream()``, which returns a :class:`CompletionStream` or None. Without it, every message
    of a wave waits for the longest one.
    """

    name: str
    version: str

    def load(self, weights: Path) -> None:
        """Load the weights of a model folder into the running engine and drop every cached prefix."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """Complete every prompt; completions are in the order of the prompts. All prompts are processed together."""

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each token given the tokens before it, per sequence; 0 for the first token."""

    def describe(self) -> dict[str, Any]:
        """Return flags and versions for the manifest."""

    def close(self) -> None:
        """Free the memory."""


@dataclass(frozen=True)
class Reply:
    """The model's answer to one conversation.

    Attributes:
        message: The assistant's message: the text without the model's thought, which tasks score, and all sampled ids;
            None if the prompt did not fit the context.
        prompt_tokens: Number of tokens of the prompt; 0 if a server refused the prompt.
        tokens: Number of sampled tokens.
        cut: True if the token limit ended the message.
        thought: The thought, with the model's own marks; empty if there is none.
    """

    message: Message | None
    prompt_tokens: int
    tokens: int
    cut: bool
    thought: str = ""


def text_reply(text: str | None, *, prompt_tokens: int, tokens: int, cut: bool, thought: str = "") -> Reply:
    """Make a reply of a server, which has a text and no ids.

    Args:
        text: The answer without its thought; None if the prompt does not fit the server's context.
        prompt_tokens: Number of tokens of the prompt.
        tokens: Number of sampled tokens.
        cut: True if the token limit ended the message.
        thought: The thought.
    """
    message = None if text is None else Message("assistant", text, action=True)
    return Reply(message, prompt_tokens, tokens, cut, thought)


class ChatEngine(Protocol):
    """An engine that asks a server, which has the tokenizer and the chat template. Called as ``Engine(config, model)``.

    Making one asks the server once, and raises a :class:`ConfigError` if it does not answer or has no such model.

    Attributes:
        name: Name of the engine.
        version: The server's name and version; it enters digests.
        identity: What tells this model from others, JSON-able; it enters digests.
        max_usd: An evaluation that has cost this much stops; None for no limit.
    """

    name: str
    version: str
    identity: Mapping[str, Any]
    max_usd: float | None

    def chat(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, seeds: Sequence[int]
    ) -> Replies[tuple[int, Reply], None, None]:
        """Answer every conversation; yield its index and the reply as soon as it is there, in any order.

        Args:
            conversations: What is asked.
            sampling: How; its own seed and stop ids are not used.
            seeds: Seed of each conversation.

        Yields:
            (index, reply as :func:`text_reply` makes it).

        Raises:
            ConfigError: The server refuses a request; it would refuse it again.
            EngineError: The server fails, after the engine's own retries. Replies that are there were yielded before.

        If the caller closes the generator, no further request is sent.
        """

    def usd(self, prompt_tokens: int, tokens: int) -> float:
        """Return the price of prompt and generated tokens."""

    def describe(self) -> dict[str, Any]:
        """Return flags, versions and counts for the manifest."""

    def close(self) -> None:
        """Close the connections."""


class ChatGenerator:
    """Answers conversations with one engine and one chat template.

    Args:
        generator: Engine with loaded weights.
        renderer: The model's chat template and tokenizer.
        max_context: Maximum length of prompt plus completion, in tokens.

    Attributes:
        counts: Number of ``answers``, of those with ``thoughts``, and of ``thoughts_without_end``.
        served: True if a server has the tokenizer and the chat template: ``generator`` and ``renderer`` then refuse.
    """

    served: ClassVar[bool] = False

    def __init__(self, generator: Generator, renderer: Renderer, max_context: int) -> None:
        self.generator, self.renderer, self.max_context = generator, renderer, max_context
        self.counts: Counter[str] = Counter()

    def within(self, max_context: int) -> ChatGenerator:
        """The same generator with a lower limit; both count in the same place."""
        limited = ChatGenerator(self.generator, self.renderer, max_context)
        limited.counts = self.counts
        return limited

    def reply(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        tools: Sequence[Sequence[dict[str, Any]]] | None = None,
    ) -> list[Reply]:
        """Answer each conversation with one assistant message; all are answered in one wave."""
        tools = tools if tools is not None else [()] * len(conversations)
        prompts = [self.renderer.prompt(c, t) for c, t in zip(conversations, tools, strict=True)]
        fits = [i for i, p in enumerate(prompts) if self.fits(p, sampling)]
        asked = self.stopping(sampling)
        if asked.seeds is not None:
            asked = replace(asked, seeds=tuple(asked.seeds[i] for i in fits))
        completions = dict(zip(fits, self.generator.generate([prompts[i] for i in fits], asked), strict=True))
        return [self.replied(prompts[i], completions.get(i)) for i in range(len(prompts))]

    def fits(self, prompt: Sequence[int], sampling: Sampling) -> bool:
        """Whether a prompt leaves room for the answer."""
        return len(prompt) + sampling.max_tokens <= self.max_context

    def stopping(self, sampling: Sampling) -> Sampling:
        """The sampling with the ids that end a message of this model, if it has none of its own."""
        return replace(sampling, stop_token_ids=sampling.stop_token_ids or self.renderer.stop_ids)

    def prompt_tokens(self, conversation: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> int:
        """Return the number of tokens of a conversation's prompt; 0 if only a server knows it."""
        return len(self.renderer.prompt(conversation, tools))

    def replied(self, prompt: Sequence[int], completion: Completion | None) -> Reply:
        """Make the reply of a completion; without one, the prompt did not fit the context."""
        if completion is None:
            return Reply(None, len(prompt), 0, cut=False)
        text_ids = completion.ids[:-1] if completion.stopped else completion.ids
        thought, answer = self.renderer.split_thought(prompt, self.renderer.decode(text_ids))
        self.counts["answers"] += 1
        self.counts["thoughts"] += bool(thought)
        self.counts["thoughts_without_end"] += bool(
            thought and self.renderer.thought_marks and not thought.endswith(self.renderer.thought_marks[1])
        )
        message = Message(
            role="assistant",
            content=answer,
            action=True,
            token_ids=tuple(completion.ids),
            behaviour_logp=tuple(completion.logprobs),
        )
        return Reply(message, len(prompt), len(completion.ids), not completion.stopped, thought)
