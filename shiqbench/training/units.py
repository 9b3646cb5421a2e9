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
from shiqbench.training.pairs import differ_in_one_turn, ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shiqbench.episodes.episode import Episode
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig

# Windows of this many batches are sorted: rows of a batch are similar, and the order of batches stays random.
SORT_WINDOW = 32


def make_units(algorithm: Algorithm[AlgorithmConfig], episodes: Sequence[Episode]) -> list[EpisodeUnit]:
    """Group episodes into the units that the algorithm uses.

    Pair units are all pairs of a group whose returns differ, or those of them that ``algorithm.pairs`` takes. Group
    units are consecutive runs of ``group_size`` episodes of a group; a smaller remainder is left out.

    Raises:
        ConfigError: No unit is left to train on.
    """
    if algorithm.unit == "episode":
        units = [EpisodeUnit((i,)) for i in range(len(episodes))]
    else:
        units = []
        for members in _groups(episodes):
            if algorithm.unit == "pair":
                units += [EpisodeUnit(pair) for pair in _pairs(members, episodes) if _takes(algorithm, episodes, pair)]
            else:
                k = algorithm.group_size
                units += [EpisodeUnit(tuple(members[s : s + k])) for s in range(0, len(members) - k + 1, k)]
    if not units:
        if found := pairs_left_out(algorithm, episodes, units):
            raise ConfigError(
                f"none of {found} pairs of {len(episodes)} episodes differs in one turn only",
                where="algo.pairs = one_turn",
                do="use data that change one message of the model, or --set algo.pairs=all",
            )
        raise ConfigError(
            f"no {algorithm.unit} to train on among {len(episodes)} episodes",
            where="training data",
            do="use data whose returns differ within groups, or another algorithm",
        )
    best = {e.id for e in accepted(episodes, "best")}
    return [replace(u, best=tuple(episodes[r].id in best for r in u.rows)) for u in units]


def pairs_left_out(
    algorithm: Algorithm[AlgorithmConfig], episodes: Sequence[Episode], units: Sequence[EpisodeUnit]
) -> int:
    """Number of pairs of unequal returns that ``algorithm.pairs`` leaves out."""
    if algorithm.unit != "pair" or algorithm.pairs == "all":
        return 0
    return sum(len(_pairs(members, episodes)) for members in _groups(episodes)) - len(units)


def _groups(episodes: Sequence[Episode]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, e in enumerate(episodes):
        groups[e.group].append(i)
    return list(groups.values())


def _pairs(members: Sequence[int], episodes: Sequence[Episode]) -> list[tuple[int, int]]:
    """Pairs of unequal returns, the better episode first."""
    return [pair for i, j in combinations(members, 2) if (pair := ordered(episodes, i, j))]


def _takes(algorithm: Algorithm[AlgorithmConfig], episodes: Sequence[Episode], pair: tuple[int, int]) -> bool:
    return algorithm.pairs == "all" or differ_in_one_turn(*(episodes[r] for r in pair))


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
