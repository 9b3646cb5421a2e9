"""Short labels that distinguish cells."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, flatten, short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHA256 = re.compile(r"[0-9a-f]{64}")


def labels(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each recipe the settings that differ within its algorithm; seeds, models and starts have columns."""
    flat = [settings_of(r) for r in recipes]
    names = [r["algorithm"]["name"] for r in recipes]
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, mine in zip(names, flat, strict=True):
        for key, value in mine.items():
            values[name, key].add(canonical_json(value))
    peers = {name: names.count(name) for name in set(names)}
    having = {at: sum(n == at[0] and at[1] in f for n, f in zip(names, flat, strict=True)) for at in values}
    differ = {at for at in values if len(values[at]) > 1 or having[at] < peers[at[0]]}
    return [
        " ".join(f"{k.partition('.')[2]}={brief(v)}" for k, v in sorted(mine.items()) if (name, k) in differ)
        for name, mine in zip(names, flat, strict=True)
    ]


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting of a recipe, flat: ``algo.beta``, ``train.lr``, ``task.horizon``, ..."""
    algorithm, task = recipe["algorithm"], recipe["task"]
    return flatten(
        {
            "algo": algorithm["config"],
            "task": task["config"],
            "train": recipe["train"],
            "of": {"data": task.get("data"), "plugins": recipe["plugins"]},
            "versions": {algorithm["name"]: algorithm.get("version"), task["name"]: task.get("version")},
        }
    )


def differing(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> both values where two JSON values differ; a value is None if its side lacks the key."""
    a, b = flatten(one), flatten(other)
    keys = sorted(set(a) | set(b))
    return {k: (a.get(k), b.get(k)) for k in keys if canonical_json(a.get(k)) != canonical_json(b.get(k))}


def brief(value: Any) -> str:
    """Return the value of a setting in a few characters."""
    if isinstance(value, list):
        return "+".join(brief(v) for v in value)
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return short(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
