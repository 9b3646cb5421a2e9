"""Checks a task's episodes, and their form in tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from shiqbench.plugin.task import Split
from shiqbench.testing.contract import TaskContract as Line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.rendering import Renderer
    from shiqbench.plugin.task import Task
    from shiqbench.testing.contract import ContractReport

RENDERED = 12  # episodes of a split, evenly spaced


def check_episodes(report: ContractReport, make: Callable[[], Task], renderer: Renderer) -> list[str]:
    """Check the episodes of every split.

    Args:
        report: Collects the findings.
        make: Makes a new instance of the task.
        renderer: Renderer of the tiny model.

    Returns:
        The model's messages in them, which a scripted generator repeats.
    """
    task, other = make(), make()
    splits: dict[str, list[Episode]] = {}
    for split in get_args(Split):
        found = report.attempt(Line.EPISODES, f"episodes({split!r})", lambda s=split: task.episodes(s))  # type: ignore[misc]
        again = report.attempt(Line.REPEATABLE, f"episodes({split!r})", lambda s=split: other.episodes(s))  # type: ignore[misc]
        for episode in found:
            _check_one(report, episode)
            _check_offers(report, task, episode)
        differing = [a.id for a, b in zip(found, again, strict=False) if a != b]
        counts = f"{len(found)} and {len(again)} episodes of {split} in two instances"
        alike = len(found) == len(again) and not differing
        report.require(alike, Line.REPEATABLE, f"{counts}, {len(differing)} differing {differing[:3]}")
        splits[split] = found
        for episode in found[:: max(1, len(found) // RENDERED)]:
            _check_rendering(report, episode, renderer)
    report.require(bool(splits["train"]), Line.EPISODES, "no episode to train on")
    ids = [e.id for found in splits.values() for e in found]
    twice = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    report.require(not twice, Line.EPISODES, f"{len(twice)} ids more than once, such as {twice[:3]}")
    _check_splits(report, splits)
    return [m.content for e in splits["train"] for m in e.messages if m.action]


def _check_splits(report: ContractReport, splits: dict[str, list[Episode]]) -> None:
    names = list(splits)
    groups = {name: {e.group for e in found} for name, found in splits.items()}
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            both = sorted(groups[one] & groups[two])
            report.require(not both, Line.SPLITS, f"{len(both)} groups in {one} and {two}, such as {both[:3]}")


def _check_one(report: ContractReport, episode: Episode) -> None:
    where = f"episode {episode.id!r}"
    report.require(bool(episode.id and episode.group), Line.EPISODES, f"{where} of group {episode.group!r}")
    report.require(bool(episode.behaviour), Line.EPISODES, f"{where} without a behaviour")
    report.require(any(m.action for m in episode.messages), Line.EPISODES, f"{where} without an action message")
    for index, message in enumerate(episode.messages):
        if message.reward is not None:
            report.require(message.action, Line.REWARDS, f"{where} has a reward on message {index} ({message.role})")
            report.require(math.isfinite(message.reward), Line.REWARDS, f"{where} has reward {message.reward}")


def _check_offers(report: ContractReport, task: Task, episode: Episode) -> None:
    """Check the data for the needs that only data can meet."""
    if "reference_returns" in task.offers:
        returns = episode.meta.get("reference_returns")
        known = isinstance(returns, list) and bool(returns) and all(math.isfinite(x) for x in returns)
        report.require(known, Line.OFFERS, f"episode {episode.id!r} has reference_returns {returns!r} in its meta")
    if "behaviour_logp" in task.offers:
        silent = [i for i, m in enumerate(episode.messages) if m.action and not m.behaviour_logp]
        report.require(not silent, Line.OFFERS, f"episode {episode.id!r} has no behaviour_logp on messages {silent}")
    report.require(True, Line.OFFERS, "")


def _check_rendering(report: ContractReport, episode: Episode, renderer: Renderer) -> None:
    where = f"episode {episode.id!r}"
    rendered = report.attempt(Line.RENDERING, where, lambda: renderer.render(episode))
    actions = [s.ids[p] for s in rendered.sequences for p in s.actions]
    outside = [p for s in rendered.sequences for p in s.actions if not 0 < p < len(s.ids)]
    report.require(not outside, Line.RENDERING, f"{where} has actions at {outside[:3]}")
    wanted = [t for m in episode.messages if m.action for t in _ids(m.content, m.token_ids, renderer)]
    report.require(
        actions == wanted,
        Line.RENDERING,
        f"{where} has actions {renderer.decode(actions)[-60:]!r}, messages {renderer.decode(wanted)[-60:]!r}",
    )
    total = math.fsum(rendered.rewards)
    alike = math.isclose(total, episode.total_reward, rel_tol=1e-9, abs_tol=1e-9)
    report.require(
        alike, Line.RENDERING, f"{where} has return {total:g} in tokens, {episode.total_reward:g} in messages"
    )


def _ids(content: str, sampled: Sequence[int] | None, renderer: Renderer) -> list[int]:
    if sampled is not None:
        return list(sampled)
    ids = renderer.tokenizer(content, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, renderer.end_of_turn]
