"""Group episodes into units and units into batches; the order is a pure function of the seed."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.algorithm import accepted
from shiqbench.plugin.batch import EpisodeUnit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shiqbench.episodes.episode import Episode
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig

# Windows of this many batches are sorted: rows of a batch are similar, and the order of batches stays random.
SORT_WINDOW = 32


def make_units(algorithm: Algorithm[AlgorithmConfig], episodes: Sequence[Episode]) -> list[EpisodeUnit]:
    """Group episodes into the units that the algorithm uses.

    Pair units are all pairs of a group whose returns differ. Group units are consecutive runs of ``group_size``
    episodes of a group; a smaller remainder is left out, and the caller counts it.

    Raises:
        ConfigError: No unit is left to train on.
    """
    if algorithm.unit == "episode":
        units = [EpisodeUnit((i,)) for i in range(len(episodes))]
    else:
        groups: dict[str, list[int]] = defaultdict(list)
        for i, e in enumerate(episodes):
            groups[e.group].append(i)
        units = []
        for members in groups.values():
            if algorithm.unit == "pair":
                for i, j in combinations(members, 2):
                    difference = episodes[i].total_reward - episodes[j].total_reward
                    if abs(difference) > 1e-9:
                        units.append(EpisodeUnit((i, j) if difference > 0 else (j, i)))
            else:
                k = algorithm.group_size
                units += [EpisodeUnit(tuple(members[s : s + k])) for s in range(0, len(members) - k + 1, k)]
    if not units:
        raise ConfigError(
            f"no {algorithm.unit} to train on among {len(episodes)} episodes",
            where="training data",
            do="use data whose returns differ within groups, or another algorithm",
        )
    best = {e.id for e in accepted(episodes, "best")}
    return [replace(u, best=tuple(episodes[r].id in best for r in u.rows)) for u in units]


def unit_batches(
    units: Sequence[EpisodeUnit], keys: Sequence[Any], per_batch: int, seed: int
) -> Iterator[list[EpisodeUnit]]:
    """Endless batches of units; each epoch is a new shuffle.

    Args:
        units: Units to draw from.
        keys: One key per episode; windows are sorted by these keys, so that a batch has episodes of similar length, or
            with a common prefix.
        per_batch: Units per batch; a smaller rest of an epoch is filled up from the next epoch.
        seed: Seed of the whole order.
    """
    rng = random.Random(seed)
    size = per_batch * SORT_WINDOW
    left: list[EpisodeUnit] = []  # too few for a batch at the end of an epoch
    while True:
        epoch = list(units)
        rng.shuffle(epoch)
        epoch = left + epoch
        left = epoch[len(epoch) - len(epoch) % per_batch :]
        for start in range(0, len(epoch) - len(left), size):
            window = epoch[start : min(start + size, len(epoch) - len(left))]
            window.sort(key=lambda u: [keys[r] for r in u.rows])
            batches = [window[i : i + per_batch] for i in range(0, len(window), per_batch)]
            rng.shuffle(batches)
            yield from batches
