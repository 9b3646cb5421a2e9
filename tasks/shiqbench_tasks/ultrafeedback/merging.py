"""From the rows of one prompt to its answers: each rated text once, each stated comparison once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from shiqbench_tasks.rows.bad_rows import Place
    from shiqbench_tasks.ultrafeedback.rows import Answer, Row

Key = tuple[str, str]


def rated(rows: Sequence[tuple[Place, Row]], counts: Counter[str]) -> tuple[Answer, ...]:
    """Every text once; one with several ratings gets their mean."""
    known: set[tuple[tuple[Key, str, float | None], ...]] = set()
    texts: dict[Key, list[Answer]] = defaultdict(list)
    for _, row in rows:
        content = tuple((a.key, a.who, a.rating) for a in row.answers)
        if content in known:
            counts["duplicate_rows"] += 1
            continue
        known.add(content)
        for answer in row.answers:
            texts[answer.key].append(answer)
    found = []
    for same in texts.values():
        counts["repeated_answers"] += len(same) - 1
        ratings = [a.rating for a in same if a.rating is not None]
        counts["averaged_answers"] += len(set(ratings)) > 1
        found.append(replace(same[0], rating=fmean(ratings)))
    return tuple(found)


def compared(
    rows: Sequence[tuple[Place, Row]], counts: Counter[str], places_of: dict[str, list[Place]]
) -> tuple[Answer, ...]:
    """Every stated comparison once; two that say the opposite are both left out.

    Args:
        rows: Rows of one prompt.
        counts: What is left out is added here.
        places_of: The rows of what is left out are added here, by the name of their count.
    """
    stated: dict[tuple[Key, ...], Row] = {}
    places: dict[tuple[Key, ...], list[Place]] = defaultdict(list)
    for place, row in rows:
        keys = tuple(a.key for a in row.answers)
        if len(keys) == 2 and keys[0] == keys[1]:
            counts["identical_pairs"] += 1
            places_of["identical_pairs"].append(place)
            continue
        counts["duplicate_rows"] += bool(keys) and keys in stated
        stated.setdefault(keys, row)
        places[keys].append(place)
    both = [keys for keys in stated if len(keys) == 2 and keys[::-1] in stated]
    counts["undecided_pairs"] += len(both) // 2
    places_of["undecided_pairs"] += [place for keys in both for place in places[keys]]
    kept = [row for keys, row in stated.items() if keys not in both]
    return tuple(replace(a, comparison=number) for number, row in enumerate(kept) for a in row.answers)
