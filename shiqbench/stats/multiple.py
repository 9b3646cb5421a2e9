"""Correction of p-values for the number of comparisons. Pure functions."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Return corrected p-values, in the same order: below .05 in any of them by chance in at most 5 % of families.

    The smallest is multiplied by the number of comparisons, the next by one less, and so on; none is below a smaller
    one, none above 1. It holds however the comparisons depend on each other.

    Source: S. Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    steps = accumulate(((len(ps) - rank) * ps[at] for rank, at in enumerate(order)), max)
    found = dict(zip(order, steps, strict=True))
    return [min(1.0, found[at]) for at in range(len(ps))]
