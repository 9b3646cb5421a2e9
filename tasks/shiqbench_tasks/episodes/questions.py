"""What an evaluation asks: recorded conversations up to an action, which the model gives instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Pair
from shiqbench_tasks.rows.conversations import without_rewards
from shiqbench_tasks.rows.splits import whole_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.plugin import Message
    from shiqbench_tasks.episodes.reading import Recorded
    from shiqbench_tasks.rows.bad_rows import Place
    from shiqbench_tasks.rows.conversations import Conversation


@dataclass(frozen=True)
class Recording:
    """What an episode says at this place.

    Attributes:
        group: Group of the episode.
        message: Its action.
        earned: The return of the whole episode.
    """

    group: str
    message: Message
    earned: float


@dataclass(frozen=True)
class Turn:
    """A recorded conversation up to an action.

    Attributes:
        id: First digits of the sha256 of the messages and tools.
        group: Group of the first episode that has it.
        asked: The messages; none of them is an action.
        tools: Tool documents that the model is offered.
        recorded: What the episodes say here, in the order of the source.
        row: Row of the first of them, whole.
        place: Where that row is.
    """

    id: str
    group: str
    asked: Conversation
    tools: tuple[dict[str, Any], ...]
    recorded: tuple[Recording, ...]
    row: dict[str, Any]
    place: Place

    @property
    def best(self) -> Recording:
        """What the best of the episodes says here, the first of equals."""
        return max(self.recorded, key=lambda r: r.earned)

    @property
    def is_text(self) -> bool:
        """Whether every recorded action is a text: reward models and judges here read no tool calls."""
        return all("tool_calls" not in r.message.extra for r in self.recorded)


def turns(episodes: Iterable[Recorded], which: str) -> list[Turn]:
    """The turns of episodes, each once, in the order of their hashes.

    Args:
        episodes: Recorded episodes.
        which: ``last`` for each episode's last action, ``all`` for every one.
    """
    found: dict[str, Turn] = {}
    for each in episodes:
        messages, tools, group = each.episode.messages, each.episode.tools, each.episode.group
        acting = [i for i, m in enumerate(messages) if m.action]
        for i in acting if which == "all" else acting[-1:]:
            asked = without_rewards(messages[:i])
            name = whole_sha256(asked, tools)[:16]
            known = found.get(name) or Turn(name, group, asked, tools, (), each.row, each.place)
            said = Recording(group, messages[i], each.episode.total_reward)
            found[name] = replace(known, recorded=(*known.recorded, said))
    return [found[name] for name in sorted(found)]


def pairs(asked: Iterable[Turn]) -> list[Pair]:
    """Two answers of one group to the same conversation, the one with the higher return first."""
    found = []
    for turn in asked:
        for a, b in combinations(turn.recorded if turn.is_text else (), 2):
            if a.group == b.group and a.earned != b.earned and a.message.content != b.message.content:
                better, worse = (a, b) if a.earned > b.earned else (b, a)
                found.append(Pair(turn.asked, better.message.content, worse.message.content))
    return found
