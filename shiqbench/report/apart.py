"""What tells the settings of one task apart, in as few words as possible: ``mdp=grid reward=dense``."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, flatten
from shiqbench.store.labels import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_KEYS = 3  # in words for a reader; the digest tells the rest
LONGEST = 40  # characters of a value that says something to a reader
TITLED = ("engine", "task", "eval.split")  # a table's title says these already


def told_apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Words for each setting, so that different settings have different words.

    They hold the fewest values that separate all settings; among equally many, those that are names, then those that
    come first in the alphabet.

    Args:
        settings: Settings of evaluations of one task.

    Returns:
        One text per setting; all are empty if there is one setting, or if more than three values are needed.
    """
    flat = [{k: v for k, v in flatten(dict(s)).items() if k not in TITLED} for s in settings]
    of_key = {key: [canonical_json(f.get(key)) for f in flat] for key in sorted(set().union(*flat))}
    differing = {k: v for k, v in of_key.items() if len(set(v)) > 1 and max(map(len, v)) <= LONGEST}
    different = len(set(zip(*of_key.values(), strict=True)))
    if different < 2:
        return [""] * len(settings)
    by_name = sorted(differing, key=lambda k: (not all(isinstance(f.get(k), str) for f in flat), k))
    for count in range(1, MOST_KEYS + 1):
        for keys in combinations(by_name, count):
            if len(set(zip(*(differing[k] for k in keys), strict=True))) == different:
                return [" ".join(f"{k.rpartition('.')[2]}={brief(f.get(k))}" for k in keys) for f in flat]
    return [""] * len(settings)
