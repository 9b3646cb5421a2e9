"""Tasks of several turns as an environment: what the model says goes in, what it receives next comes out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from shiqbench.episodes.episode import Episode, Message, StopReason
from shiqbench.episodes.generation import Sampling, mixed_seed
from shiqbench.episodes.playing import play_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.episodes.generation import ChatGenerator
    from shiqbench.plugin.config import EvalConfig


@dataclass(frozen=True)
class Step:
    """What an environment does after a message of the model.

    Attributes:
        messages: What the model receives next, such as a tool's answer or the user's next message.
        reward: Reward of the message; None if it has none.
        done: Whether the episode is over.
    """

    messages: Sequence[Message] = ()
    reward: float | None = None
    done: bool = False


class Environment(Protocol):
    """One episode's world. What it does must depend on nothing but its settings and the model's messages.

    It may also have ``cut(stop)``, which is called once if a limit ends the episode, with the :class:`StopReason`. It
    frees what the episode holds, and returns a reward that is added to the model's last message, or None.
    """

    def reset(self) -> Sequence[Message]:
        """Begin; return the messages before the model's first one, of which the last is to be answered."""

    def step(self, text: str) -> Step:
        """React to a message of the model. An exception is a fault of the environment: such episodes have no score."""


class EnvironmentEpisode:
    """An environment that is being played.

    Args:
        id: Name of the episode.
        environment: A fresh environment.
        max_steps: Messages of the model between two messages of the user; one more is not asked for.
        max_tokens: Sampled tokens of the episode.

    Attributes:
        messages: The conversation; rewards are on the model's messages.
        stop: Why it ended; None while it goes on.
        error: Text of the exception if it crashed.
    """

    tools: Sequence[dict[str, Any]] = ()

    def __init__(self, id: str, environment: Environment, *, max_steps: int, max_tokens: int) -> None:  # noqa: A002
        self.id = self.group = id
        self.messages: list[Message] = []
        self.stop: StopReason | None = None
        self.error, self.tokens, self.prompt_tokens, self.steps = "", 0, 0, 0
        self._environment, self._max_steps, self._max_tokens = environment, max_steps, max_tokens
        self._since_user = 0
        try:
            self.messages += environment.reset()
        except Exception as error:
            self.crash(error)

    def answer(self, message: Message, *, tokens: int = 0, prompt_tokens: int = 0) -> None:
        """Add the model's message and what follows it."""
        step = self._environment.step(message.content)
        self.messages += [replace(message, reward=step.reward), *step.messages]
        self.tokens += tokens
        self.prompt_tokens += prompt_tokens
        self.steps += 1
        self._since_user = 0 if any(m.role == "user" for m in step.messages) else self._since_user + 1
        if step.done:
            self.stop = StopReason.FINISHED
        elif self.tokens >= self._max_tokens:
            self.stop = StopReason.TOKEN_LIMIT
        elif self._since_user >= self._max_steps:
            self.stop = StopReason.STEP_LIMIT
        if self.stop is not None and not step.done:
            self._cut(self.stop)

    def no_room(self, prompt_tokens: int, room: int) -> None:
        """End the episode: its prompt does not fit the context; nothing is truncated."""
        self.prompt_tokens += prompt_tokens
        self.stop = StopReason.CONTEXT_LIMIT
        try:
            self._cut(self.stop)
        except Exception as error:
            self.crash(error)

    def _cut(self, stop: StopReason) -> None:
        """Tell an environment that wants to know it; its last reward is that of the model's last message."""
        reward = getattr(self._environment, "cut", lambda stop: None)(stop)
        last = max((i for i, m in enumerate(self.messages) if m.action), default=None)
        if reward is not None and last is not None:
            message = self.messages[last]
            self.messages[last] = replace(message, reward=(message.reward or 0.0) + reward)

    def crash(self, error: BaseException) -> None:
        """End the episode after a failure that the model did not cause."""
        self.error, self.stop = f"{type(error).__name__}: {error}", StopReason.ERROR

    def messages_to_expect(self) -> int:
        """Unknown: all begin in their order."""
        return 0

    def total_reward(self) -> float | None:
        """Sum of the rewards; None if the episode crashed, because it has no score."""
        if self.stop is StopReason.ERROR:
            return None
        return sum(m.reward for m in self.messages if m.reward is not None)


def play_environments(
    new: Mapping[str, Callable[[], Environment]],
    chat: ChatGenerator,
    config: EvalConfig,
    progress: Callable[[int, int], None],
    at_once: int | None = None,
) -> list[dict[str, Any]]:
    """Play every environment once per repeat, as many at once as the engine computes together.

    Args:
        new: By the name of an example, what makes its environment.
        chat: The model.
        config: Limits, sampling and repeats.
        progress: Called with (episodes that have ended, all).
        at_once: Most environments that exist at a time; None makes all at the beginning.

    Returns:
        One record per episode: ``id``, ``repeat``, ``seed``, ``return`` (None if it crashed), ``stop``, ``error``,
        ``steps``, ``tokens``, ``prompt_tokens`` and ``transcript`` (JSON).

    Raises:
        ConfigError: A first prompt does not fit the context.
    """
    names = list(new)
    wanted = [(repeat, i) for repeat in range(config.repeats) for i in range(len(names))]

    def live(at: int) -> EnvironmentEpisode:
        name = names[wanted[at][1]]
        limits = {"max_steps": config.max_steps, "max_tokens": config.max_episode_tokens}
        return EnvironmentEpisode(name, new[name](), **limits)

    played = play_all(
        live,
        [mixed_seed(config.seed + repeat, i) for repeat, i in wanted],
        chat,
        Sampling(config.max_tokens, config.temperature, config.top_p),
        lambda ended: progress(ended, len(wanted)),
        at_once,
    )
    return [
        {
            "id": episode.id,
            "repeat": repeat,
            "seed": config.seed + repeat,
            "return": episode.total_reward(),
            "stop": None if episode.stop is None else episode.stop.value,
            "error": episode.error,
            "steps": episode.steps,
            "tokens": episode.tokens,
            "prompt_tokens": episode.prompt_tokens,
            "transcript": json.dumps([_written(m) for m in episode.messages]),
        }
        for (repeat, _), episode in zip(wanted, played, strict=True)
    ]


def scripted_episode(
    id: str,  # noqa: A002
    group: str,
    behaviour: str,
    environment: Environment,
    answers: Sequence[str],
) -> Episode:
    """Make an episode to learn from: play an environment with given answers.

    Args:
        id: Unique name of the episode.
        group: Its prompt or scenario; pairs are drawn within it.
        behaviour: Where the answers come from.
        environment: A fresh environment.
        answers: The model's messages, one after another, up to the end of the episode.

    Raises:
        ValueError: The episode is over before the last answer.
    """
    messages = list(environment.reset())
    for number, text in enumerate(answers, 1):
        step = environment.step(text)
        messages += [Message("assistant", text, action=True, reward=step.reward), *step.messages]
        if step.done and number < len(answers):
            raise ValueError(f"{id} is over after {number} of {len(answers)} answers")
    return Episode(id, group, behaviour, tuple(messages))


def stops(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Count the episodes by why they ended, for a task's metrics: ``stop_finished``, ``stop_error``, ..."""
    counted = Counter(r["stop"] for r in records)
    return {f"stop_{stop.value}": float(counted[stop.value]) for stop in StopReason}


def _written(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content, **message.extra}
    if message.action:
        found |= {"reward": message.reward, "token_ids": message.token_ids}
    return found
