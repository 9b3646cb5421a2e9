"""What was read and left out, in a few lines for the user."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.episodes.reading import Data, Recorded

FEWEST = 10  # groups, below which reports give no interval
LEFT_OUT = {
    "empty_answers": "episodes whose last action is empty",
    "identical_pairs": "pairs of the same answer",
    "episodes_of_another_split": "episodes whose group or prompt is in another split",
}


def lines(data: Data, too_long: int, where: str) -> list[str]:
    """The lines.

    Args:
        data: What was read.
        too_long: Training episodes that are longer than ``task.longest_episode``.
        where: The source.
    """
    episodes = data.all
    groups = len({e.episode.group for e in episodes})
    actions = [m for e in episodes for m in e.episode.messages if m.action]
    rewards = [m.reward for m in actions if m.reward is not None]
    splits = ", ".join(
        f"{split} {len(found)} in {len({e.episode.group for e in found})} groups"
        for split, found in data.episodes.items()
    )
    found = [
        f"read as {data.form.title}: {data.counts['rows']} rows, {len(episodes)} episodes in {groups} groups",
        f"episodes by split{', as the rows say' if data.stated_splits else ''}: {splits}",
    ]
    if data.counts["demonstrations"]:
        found.append(f"{len(actions)} actions; no row has a reward: every episode is a demonstration and earns 1")
        if data.numbers:
            columns = ", ".join(sorted(data.numbers))
            found.append(f"columns with numbers: {columns}; if one is a reward: --set task.columns.reward=COLUMN")
    else:
        spread = f"min {min(rewards):.4g}, mean {fmean(rewards):.4g}, max {max(rewards):.4g}"
        found.append(f"{len(actions)} actions, {len(rewards)} of them with a reward: {spread}")
        found.append(_returns(episodes))
    tested = len({e.episode.group for e in data.episodes["test"]})
    if tested < FEWEST:
        found.append(f"test groups: {tested}; fewer than {FEWEST} give no interval, splits in the rows hold out more")
    found += left_out(data)
    if too_long:
        found.append(f"left out of training: {too_long} episodes longer than task.longest_episode")
    for what, keys in (("columns", data.unread_columns), ("keys of messages", data.unread)):
        if keys:
            each = ", ".join(f"{key} ({rows} rows)" for key, rows in sorted(keys.items()))
            found.append(f"{what} that are not read: {each}")
    return [f"{where}: {line}" for line in found]


def _returns(episodes: Sequence[Recorded]) -> str:
    """What whole episodes earn, and in how many groups they can be told apart by it."""
    groups: dict[str, set[float]] = defaultdict(set)
    for e in episodes:
        groups[e.episode.group].add(e.episode.total_reward)
    mixed = sum(len(returns) > 1 for returns in groups.values())
    mean = fmean(e.episode.total_reward for e in episodes)
    return f"an episode earns {mean:.4g} on average; in {mixed} of {len(groups)} groups the episodes earn differently"


def left_out(data: Data) -> list[str]:
    """The lines about what was left out."""
    parts = [f"{n} {meaning}" for name, meaning in LEFT_OUT.items() if (n := data.counts[name])]
    return [
        *(f"rows skipped: {cause}" for cause in data.bad.causes()),
        *([f"left out: {', '.join(parts)}"] if parts else []),
    ]
