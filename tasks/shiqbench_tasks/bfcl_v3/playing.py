"""Plays many episodes at once: all live episodes step together, one wave of generation after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiqbench.plugin import ChatGenerator, ConfigError, EvalConfig, Sampling, StopReason
from shiqbench_tasks.bfcl_v3.guards import EpisodeTimeoutError, time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Dialogue

WAVES_PER_SEED = 1_000_000  # more than any repeat has; keeps the seeds of repeats apart
# Sequences that vLLM processes at once. Up to here, the order of a wave changes only the numerics of its batches.
SLOTS = 64
# The tools answer in milliseconds; a longer time shows a fault of the machine or of this code.
SECONDS_PER_MESSAGE = 60.0


@dataclass(frozen=True)
class HowToSample:
    """Sampling settings of one pass over some scenarios.

    Attributes:
        max_tokens: Largest number of tokens per message.
        max_context: Largest number of tokens of prompt and message together.
        temperature: Temperature; 0 is greedy.
        top_p: Nucleus mass.
        seed: Seed of the pass; wave i uses a seed derived from it and from i.
    """

    max_tokens: int
    max_context: int
    temperature: float
    top_p: float
    seed: int

    @classmethod
    def of_evaluation(cls, config: EvalConfig, repeat: int) -> HowToSample:
        """Repeat r samples as an evaluation with the seed ``config.seed + r`` does."""
        return cls(config.max_tokens, config.max_context, config.temperature, config.top_p, config.seed + repeat)

    def wave(self, number: int) -> Sampling:
        """Sampling settings of one wave."""
        return Sampling(self.max_tokens, self.temperature, self.top_p, self.seed * WAVES_PER_SEED + number)


def play_all(
    entries: Sequence[Entry],
    new: Callable[[Entry], Dialogue],
    chat: ChatGenerator,
    how: HowToSample,
    finished: Callable[[int], None],
) -> list[Dialogue]:
    """Play every scenario to its end. One that crashes is played once more and then given up; the others continue.

    Args:
        entries: The scenarios; one that is listed k times is played k times.
        new: Makes a fresh episode.
        chat: The model.
        how: Sampling settings.
        finished: Called after every wave with the number of episodes that have ended.

    Raises:
        ConfigError: A first prompt does not fit the context.
    """
    dialogues = [new(entry) for entry in entries]
    check_room(chat, how, dialogues)
    waves = _play(dialogues, chat, how, finished)
    crashed = [i for i, d in enumerate(dialogues) if d.stop is StopReason.ERROR]
    if crashed:
        again = [new(entries[i]) for i in crashed]
        # With new seeds, so that it repeats no other sample of its scenario.
        _play(again, chat, how, lambda ended: None, waves)
        for i, dialogue in zip(crashed, again, strict=True):
            dialogues[i] = dialogue
    return dialogues


def _play(
    dialogues: Sequence[Dialogue],
    chat: ChatGenerator,
    how: HowToSample,
    finished: Callable[[int], None],
    wave: int = 0,
) -> int:
    """Play waves from number ``wave`` on; return the number after the last."""
    while live := [d for d in dialogues if d.stop is None]:
        if len(live) > SLOTS:
            live.sort(key=lambda d: -d.messages_to_expect())
        replies = chat.reply([d.messages for d in live], how.wave(wave), [d.tools for d in live])
        for dialogue, reply in zip(live, replies, strict=True):
            if reply.message is None:
                dialogue.no_room(reply.prompt_tokens, how.max_context - how.max_tokens)
                continue
            try:
                with time_limit(SECONDS_PER_MESSAGE):
                    dialogue.answer(reply.message, tokens=reply.tokens, prompt_tokens=reply.prompt_tokens)
            except (Exception, EpisodeTimeoutError) as error:
                dialogue.crash(error)
        wave += 1
        finished(sum(d.stop is not None for d in dialogues))
    return wave


def check_room(chat: ChatGenerator, how: HowToSample, dialogues: Sequence[Dialogue]) -> None:
    """Refuse a setting in which a first prompt does not fit the context.

    Raises:
        ConfigError: The longest first prompt is too long; the message contains the number of tokens and a fix.
    """
    found = [(chat.prompt_tokens(d.messages, d.tools), d) for d in dialogues]
    if not found:
        return
    tokens, dialogue = max(found, key=lambda pair: pair[0])
    needed = tokens + how.max_tokens
    if needed > how.max_context:
        raise ConfigError(
            f"the first prompt of {dialogue.entry.id} has {tokens} tokens: with {how.max_tokens} for the answer "
            f"that is {needed - how.max_context} more than max_context {how.max_context}",
            where=f"task.prompt = {dialogue.setting.name}",
            do=f"raise max_context to {needed}, or use a shorter prompt setting",
        )
