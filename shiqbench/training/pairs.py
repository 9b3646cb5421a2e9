"""Which episodes of a group make a pair."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.episodes.episode import Episode, Message

SAME_RETURN = 1e-9


def ordered(episodes: Sequence[Episode], i: int, j: int) -> tuple[int, int] | None:
    """The better and the worse of two episodes, or None if they earn the same."""
    difference = episodes[i].total_reward - episodes[j].total_reward
    if abs(difference) <= SAME_RETURN:
        return None
    return (i, j) if difference > 0 else (j, i)


def differ_in_one_turn(one: Episode, other: Episode) -> bool:
    """Whether two episodes share all before a message of the model, and differ in this message only.

    One of them may lack the message. The model's later messages are equal; answers of users and tools may differ
    there. These are the step-level pairs of Lai et al. 2024 (arXiv 2406.18629) and Xiong et al. 2024
    (arXiv 2406.11176), where a step is a message.
    """
    texts = zip_longest(map(_said, one.messages), map(_said, other.messages))
    first = next((i for i, (a, b) in enumerate(texts) if a != b), None)
    if first is None:
        return False
    mine, theirs = one.messages[first:], other.messages[first:]
    a, b = _actions(mine), _actions(theirs)
    replaced = _acts(mine) and _acts(theirs) and a[1:] == b[1:]
    return replaced or (_acts(mine) and a[1:] == b) or (_acts(theirs) and b[1:] == a)


def _acts(messages: Sequence[Message]) -> bool:
    return bool(messages) and messages[0].action


def _actions(messages: Sequence[Message]) -> list[tuple[object, ...]]:
    return [_said(m) for m in messages if m.action]


def _said(message: Message) -> tuple[object, ...]:
    """What a message says, without what it earns and how it was sampled."""
    return message.role, message.content, message.action, message.extra
