"""Returns as they are trained on: shifted and scaled by constants of the training data."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Literal

from shiqbench.plugin import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin import Episode

Centre = Literal["none", "dataset", "group"]


@dataclass(frozen=True)
class Transformation:
    """``(earned - centre) / scale``, as the configuration asks; both numbers go to the manifest.

    Attributes:
        centre: Mean of what is trained on; None where each group has its own.
        scale: What is divided by.
    """

    centre: float | None
    scale: float

    def meta(self) -> dict[str, float]:
        """For the facts of an episode: ``centre_value`` if it is one for all, and ``scale`` if it changes anything."""
        centre = {} if self.centre is None else {"centre_value": self.centre}
        return centre if self.scale == 1.0 else {**centre, "scale": self.scale}


def transformation(earned: Sequence[float], centre: Centre, scale: str, width: float = 1.0) -> Transformation:
    """The constants, from the training data alone.

    Args:
        earned: What each episode earns.
        centre: What is subtracted: nothing, the mean of all, or that of each group.
        scale: What is divided by: ``none``, ``range`` (the width) or ``deviation``.
        width: Of the range of possible values.

    Raises:
        ConfigError: All earn the same, and their deviation was to be the unit.
    """
    by = {"none": 1.0, "range": width}.get(scale) or pstdev(earned)
    if by == 0:
        raise ConfigError("all answers earn the same", where="task.scale=deviation", do="--set task.scale=none")
    return Transformation({"none": 0.0, "dataset": fmean(earned), "group": None}[centre], by)


def with_returns(episodes: Sequence[Episode], how: Transformation, centre: Centre) -> list[Episode]:
    """The episodes with their rewards divided, and the centre subtracted from that of the last action."""
    groups: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        groups[episode.group].append(episode.total_reward)
    return [
        _with_return(e, how, fmean(groups[e.group]) if how.centre is None else how.centre, centre) for e in episodes
    ]


def _with_return(episode: Episode, how: Transformation, subtracted: float, centre: Centre) -> Episode:
    last = max(i for i, m in enumerate(episode.messages) if m.action)
    messages = list(episode.messages)
    for i, m in enumerate(messages):
        if i == last and (m.reward is not None or subtracted):
            messages[i] = replace(m, reward=((m.reward or 0.0) - subtracted) / how.scale)
        elif m.reward is not None:
            messages[i] = replace(m, reward=m.reward / how.scale)
    meta = {"centre": centre, "earned": episode.total_reward, **how.meta()}
    return replace(episode, messages=tuple(messages), meta=episode.meta | meta)
