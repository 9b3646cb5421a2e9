"""Conversations that are answered while others are asked, so that none waits for the longest message of a wave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from shiqbench.episodes.generation import stream_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.generation import ChatGenerator, CompletionStream, Reply, Sampling

    Tools = Sequence[dict[str, Any]]


class Replies(Protocol):
    """Asks conversations and takes the replies, whichever comes first.

    Attributes:
        slots: Number of conversations that are computed together.
    """

    slots: int

    def ask(self, key: int, conversation: Sequence[Message], tools: Tools, seed: int) -> None:
        """Ask a conversation; its key is that of no conversation that is still open."""

    def take(self) -> list[tuple[int, Reply]]:
        """Wait for at least one reply; return those that are there, each with its key."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Drop what was asked and not answered."""


def replies(chat: ChatGenerator, sampling: Sampling) -> Replies:
    """Open a stream of replies; engines that have no stream of their own answer in waves.

    Args:
        chat: The model.
        sampling: How; its own seed is not used.
    """
    stream = None if chat.served else stream_of(chat.generator)
    return InWaves(chat, sampling) if stream is None else OneByOne(chat, sampling, stream)


class InWaves:
    """Answers all conversations that were asked since the last wave, together."""

    slots = 64  # large enough to use a CPU well, small enough that the prompts stay in the engine's cache

    def __init__(self, chat: ChatGenerator, sampling: Sampling) -> None:
        if chat.served:
            self.slots = 1024  # a server has a queue of its own, so fewer waves are better
        self._chat, self._sampling = chat, sampling
        self._asked: dict[int, tuple[Sequence[Message], Tools, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asked.clear()

    def ask(self, key: int, conversation: Sequence[Message], tools: Tools, seed: int) -> None:
        """Ask a conversation."""
        self._asked[key] = conversation, tools, seed

    def take(self) -> list[tuple[int, Reply]]:
        """Answer what was asked, in the order of the keys."""
        asked = sorted(self._asked.items())
        self._asked = {}
        conversations, tools, seeds = zip(*(x for _, x in asked), strict=True)
        found = self._chat.reply(conversations, replace(self._sampling, seeds=tuple(seeds)), tools)
        return list(zip((key for key, _ in asked), found, strict=True))


class OneByOne:
    """Answers each conversation as soon as the engine has its message."""

    def __init__(self, chat: ChatGenerator, sampling: Sampling, stream: CompletionStream) -> None:
        self._chat, self._sampling, self._stream = chat, chat.stopping(sampling), stream
        self.slots = stream.slots
        self._prompts: dict[int, Sequence[int]] = {}
        self._without_room: list[tuple[int, Reply]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def ask(self, key: int, conversation: Sequence[Message], tools: Tools, seed: int) -> None:
        """Ask a conversation; the engine begins with it at the next :meth:`take`."""
        prompt = self._chat.renderer.prompt(conversation, tools)
        if self._chat.fits(prompt, self._sampling):
            self._prompts[key] = prompt
            self._stream.add(key, prompt, replace(self._sampling, seeds=(seed,)))
        else:
            self._without_room.append((key, self._chat.replied(prompt, None)))

    def take(self) -> list[tuple[int, Reply]]:
        """Run the engine until a message is complete."""
        if found := self._without_room:
            self._without_room = []
            return found
        return [(key, self._chat.replied(self._prompts.pop(key), answer)) for key, answer in self._stream.take()]
