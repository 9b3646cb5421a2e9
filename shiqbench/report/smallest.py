"""The smallest difference that a table can find, and what a smaller one needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiqbench.base.words import counted
from shiqbench.report.estimates import SAME, THESE
from shiqbench.report.numbers import short_number
from shiqbench.stats.power import POWER, detectable, examples_needed, pooled, seeds_needed
from shiqbench.stats.two_way import LEAST_SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from shiqbench.report.estimates import Difference
    from shiqbench.stats.power import Components

LEVEL = 0.05


@dataclass(frozen=True)
class Smallest:
    """The smallest difference that a two-sided test finds with 80 % power.

    Attributes:
        value: The difference, in the metric's unit.
        seeds: Number of seeds of each row; with one or two, the difference is one of these weights.
        examples: Number of examples.
        comparisons: Number of comparisons; the level is 5 % over it, the first step of Holm's correction.
        wished: A smaller difference, a round number.
        seeds_needed: Seeds that find this one on the same examples; None if 100 do not, or for these weights.
        examples_needed: Examples that find this one with the same seeds; None if 100,000 do not.
    """

    value: float
    seeds: int
    examples: int
    comparisons: int
    wished: float
    seeds_needed: int | None
    examples_needed: int | None

    @property
    def test(self) -> str:
        """Power and level of the test."""
        level = f"{LEVEL:.0%}".replace("%", " %") + (f" / {self.comparisons} rows" if self.comparisons > 1 else "")
        return f"{POWER:.0%} power, two-sided at {level}".replace("%", " %", 1)

    def text(self, number: Callable[[float], str] = short_number) -> str:
        """What can be found with how much, and what the wished difference needs."""
        found = f"about {number(self.value)} with {counted(self.seeds, 'seed')} and {counted(self.examples, 'example')}"
        if self.seeds < LEAST_SEEDS:
            found += f", for {THESE}"
        needed = ((self.seeds_needed, "seed"), (self.examples_needed, "example"))
        ways = [counted(number, noun) for number, noun in needed if number is not None]
        return f"{found}; {' or '.join(ways) or 'only more seeds and more examples'} find {number(self.wished)}"

    def as_json(self) -> dict[str, Any]:
        """The numbers, with power and level."""
        return {**self.__dict__, "power": POWER, "level": LEVEL / self.comparisons}


def smallest(c: Components, seeds: int, examples: int, comparisons: int = 1) -> Smallest | None:
    """Compute the smallest difference; None if nothing varies: then there is nothing to compute it from.

    Args:
        c: Components of the variance, none below 0; with three seeds or more, those of seeds are known.
        seeds: Number of seeds of each row.
        examples: Number of examples.
        comparisons: Number of comparisons.
    """
    level = LEVEL / comparisons
    value = detectable(c, seeds, examples, level)
    if value <= SAME:
        return None
    wished = _below(0.85 * value)
    more = seeds_needed(c, wished, examples, level) if seeds >= LEAST_SEEDS else None
    return Smallest(value, seeds, examples, comparisons, wished, more, examples_needed(c, wished, seeds, level))


def smallest_of(differences: Sequence[Difference], comparisons: int) -> Smallest | None:
    """The smallest difference like these; None without comparable examples, or if nothing varies.

    Args:
        differences: Differences of rows; their components are averaged, and the fewest seeds and examples count.
        comparisons: Number of comparisons.
    """
    known = [(d, d.components) for d in differences if d.components is not None]
    if not known:
        return None
    examples = min(d.units or 0 for d, _ in known)
    return smallest(pooled([c for _, c in known]), min(d.trained_seeds for d, _ in known), examples, comparisons)


def _below(value: float) -> float:
    """The value rounded down to one digit."""
    step = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.floor(value / step + 1e-9) * step:.1g}")
