"""Facts about the training data, for the manifest."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.rendering import Rendered


Statistics = dict[str, Any]


def data_facts(
    offered: Sequence[Episode], used: Sequence[Episode], rendered: Sequence[Rendered], units: int
) -> Statistics:
    """Facts about the training data: counts and mean returns by behaviour, mean lengths."""
    behaviours = {
        name: {"episodes": found["episodes"], "used": found["used"], "mean_return": found["return"]["mean"]}
        for name, found in by_behaviour(offered, used).items()
    }
    return {
        "behaviours": behaviours,
        "units": units,
        "tokens_per_episode": sum(r.tokens for r in rendered) / max(1, len(rendered)),
        "action_tokens_per_episode": sum(r.actions for r in rendered) / max(1, len(rendered)),
    }


def by_behaviour(offered: Sequence[Episode], used: Sequence[Episode]) -> dict[str, Statistics]:
    """By behaviour: number of episodes, number of used episodes, and the spread of all returns."""
    found = {}
    for name in sorted({e.behaviour for e in offered}):
        found[name] = {
            "episodes": sum(e.behaviour == name for e in offered),
            "used": sum(e.behaviour == name for e in used),
            "return": spread(e.total_reward for e in offered if e.behaviour == name),
        }
    return found


def spread(values: Iterable[float]) -> dict[str, float]:
    """Mean, median, least and greatest of some numbers; empty if there are none."""
    numbers = list(values)
    if not numbers:
        return {}
    return {"mean": fmean(numbers), "median": median(numbers), "min": min(numbers), "max": max(numbers)}
