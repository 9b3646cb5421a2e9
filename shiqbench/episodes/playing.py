"""Plays many episodes at once: each goes on as soon as its own message is there."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shiqbench.base.errors import ConfigError
from shiqbench.base.time_limit import EpisodeTimeoutError, time_limit
from shiqbench.episodes.episode import StopReason
from shiqbench.episodes.generation import mixed_seed
from shiqbench.episodes.replies import replies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.generation import ChatGenerator, Reply, Sampling

# Tools and games answer in milliseconds; a longer time shows a fault of the machine or of their code.
SECONDS_PER_MESSAGE = 60.0


class LiveEpisode(Protocol):
    """An episode that is being played."""

    @property
    def id(self) -> str:
        """Its name, for errors."""

    @property
    def group(self) -> str:
        """Episodes of a group share the beginning of their prompt, so they are played side by side."""

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation so far; while the episode goes on, the last message is for the model to answer."""

    @property
    def tools(self) -> Sequence[dict[str, Any]]:
        """Tool documents of the conversation."""

    @property
    def stop(self) -> StopReason | None:
        """Why it ended; None while it goes on."""

    def answer(self, message: Message, *, tokens: int, prompt_tokens: int) -> None:
        """Add the model's message and what follows it."""

    def no_room(self, prompt_tokens: int, room: int) -> None:
        """End the episode: its prompt has more tokens than the context has room for."""

    def crash(self, error: BaseException) -> None:
        """End the episode after a failure that the model did not cause."""

    def messages_to_expect(self) -> int:
        """About how many messages are still to come; the longest episodes begin first."""


Live = TypeVar("Live", bound=LiveEpisode)


def play_all(
    new: Callable[[int], Live],
    seeds: Sequence[int],
    chat: ChatGenerator,
    sampling: Sampling,
    finished: Callable[[int], None],
    at_once: int | None = None,
) -> list[Live]:
    """Play episodes to their end. One that crashes is played once more and then given up; the others continue.

    As many are played at once as the engine computes together, so their prompts stay in its cache. What an episode
    samples depends on its own seed and messages only, but for the roundings of the engine's batches.

    Args:
        new: Makes episode i.
        seeds: Seed of each episode.
        chat: The model.
        sampling: How to sample; its own seed is not used.
        finished: Called with the number of episodes that have ended.
        at_once: Most episodes that exist at a time, for worlds of which there are few; None makes all at the beginning.

    Raises:
        ConfigError: A first prompt does not fit the context.
    """
    if at_once is None:
        return _play_together(new, seeds, chat, sampling, finished)
    played: list[Live] = []
    for first in range(0, len(seeds), at_once):
        part = seeds[first : first + at_once]
        played += _play_together(
            lambda i, first=first: new(first + i),  # type: ignore[misc]
            part,
            chat,
            sampling,
            lambda ended, first=first: finished(first + ended),  # type: ignore[misc]
        )
    return played


def _play_together(
    new: Callable[[int], Live],
    seeds: Sequence[int],
    chat: ChatGenerator,
    sampling: Sampling,
    finished: Callable[[int], None],
) -> list[Live]:
    episodes = [new(i) for i in range(len(seeds))]
    _check_room(chat, sampling, episodes)
    _play(dict(enumerate(episodes)), seeds, 0, chat, sampling, finished)
    again = {i: new(i) for i, episode in enumerate(episodes) if episode.stop is StopReason.ERROR}
    # With new seeds, so that it repeats no other sample.
    _play(again, seeds, 1, chat, sampling, lambda ended: None)
    return [again.get(i, episode) for i, episode in enumerate(episodes)]


def _play(
    episodes: Mapping[int, Live],
    seeds: Sequence[int],
    attempt: int,
    chat: ChatGenerator,
    sampling: Sampling,
    finished: Callable[[int], None],
) -> None:
    def order(i: int) -> tuple[int, str, int]:
        return -episodes[i].messages_to_expect(), episodes[i].group, i

    waiting = deque(sorted((i for i, e in episodes.items() if e.stop is None), key=order))
    answers, live = Counter[int](), 0
    with replies(chat, sampling) as stream:

        def ask(i: int) -> None:
            stream.ask(i, episodes[i].messages, episodes[i].tools, mixed_seed(seeds[i], attempt, answers[i]))
            answers[i] += 1

        while waiting or live:
            while waiting and live < stream.slots:
                ask(waiting.popleft())
                live += 1
            for i, reply in stream.take():
                _take(episodes[i], reply, chat.max_context - sampling.max_tokens)
                if episodes[i].stop is None:
                    ask(i)
                else:
                    live -= 1
            finished(len(episodes) - len(waiting) - live)
    finished(len(episodes))


def _take(episode: LiveEpisode, reply: Reply, room: int) -> None:
    if reply.message is None:
        episode.no_room(reply.prompt_tokens, room)
        return
    try:
        with time_limit(SECONDS_PER_MESSAGE):
            episode.answer(reply.message, tokens=reply.tokens, prompt_tokens=reply.prompt_tokens)
    except (Exception, EpisodeTimeoutError) as error:
        episode.crash(error)


def _check_room(chat: ChatGenerator, sampling: Sampling, episodes: Sequence[LiveEpisode]) -> None:
    """Refuse a setting in which a first prompt does not fit the context."""
    asked = [(chat.prompt_tokens(e.messages, e.tools), e) for e in episodes if e.stop is None]
    tokens, longest = max(asked, key=lambda pair: pair[0], default=(0, None))
    needed = tokens + sampling.max_tokens
    if longest is not None and needed > chat.max_context:
        raise ConfigError(
            f"the first prompt of {longest.id} has {tokens} tokens: with {sampling.max_tokens} for the answer "
            f"that is {needed - chat.max_context} more than max_context {chat.max_context}",
            where="--set",
            do=f"raise max_context to {needed}, or make the prompt shorter",
        )
