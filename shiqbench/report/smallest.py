"""The smallest difference that each row of a table can find, and what a smaller one needs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from shiqbench.base.words import counted
from shiqbench.report.estimates import THESE
from shiqbench.report.numbers import short_number
from shiqbench.stats.power import MOST_EXAMPLES, POWER, detectable, examples_needed, positive, seeds_needed
from shiqbench.stats.two_way import LEAST_SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from shiqbench.report.estimates import Difference

LEVEL = 0.05
ENOUGH_DIFFER = 10  # with fewer examples that differ, the variance of a paired difference rests on a handful of them
ROUNDING = 1e-6  # of the largest value: smaller differences mean nothing
NOISE = 1e-9  # the same where all values are near 0; scores are made from numbers of about 1


@dataclass(frozen=True)
class Smallest:
    """The smallest difference of two rows that a two-sided test finds with 80 % power.

    Attributes:
        row: Name of the row or of the pair.
        value: The difference, in the metric's unit.
        seeds: Number of seeds of each row.
        examples: Number of examples.
        differing: Number of examples in which the two rows differ; None if it is not known.
        comparisons: Number of comparisons; the level is 5 % over it, the first step of Holm's correction.
        these_weights: Whether the difference is one of these weights: one or two seeds, or their variance is unknown.
        wished: The difference that is asked for, else a round number below the value.
        seeds_needed: Seeds that find this one on the same examples; None if 100 do not, or for these weights.
        examples_needed: Examples that find this one with the same seeds; None if 100,000 do not.
    """

    row: str
    value: float
    seeds: int
    examples: int
    differing: int | None
    comparisons: int
    these_weights: bool
    wished: float
    seeds_needed: int | None
    examples_needed: int | None

    @property
    def few(self) -> bool:
        """Whether so few examples differ that the value is the cautious one of two rows that share nothing."""
        return self.differing is not None and self.differing < ENOUGH_DIFFER

    def amount(self) -> str:
        """With how many seeds and examples."""
        found = f"with {counted(self.seeds, 'seed')} and {counted(self.examples, 'example')}"
        if self.these_weights:
            found += f", for {THESE}"
            if self.seeds >= LEAST_SEEDS:
                found += f"; the variance of seeds is unknown until {LEAST_SEEDS} seeds have finished"
        return found

    def needs(self, number: Callable[[float], str]) -> str:
        """What the wished difference needs."""
        needed = ((self.seeds_needed, "seed"), (self.examples_needed, "example"))
        ways = [counted(amount, noun) for amount, noun in needed if amount is not None]
        none = f"more than {MOST_EXAMPLES:,} examples" if self.these_weights else "only more seeds and more examples"
        return f"{' or '.join(ways) or none} find {number(self.wished)}"


@dataclass(frozen=True)
class SmallestOfRows:
    """The smallest difference of each row of a table; they may differ by orders of magnitude.

    Attributes:
        rows: One per row, at least one.
        rounding: Names of further rows, of which only rounding varies.
        undecided: Names of the rows for which no difference is found.
    """

    rows: tuple[Smallest, ...]
    rounding: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()

    @property
    def worst(self) -> Smallest:
        """The largest of them, if possible of rows in which enough examples differ."""
        return max(self.rows, key=lambda s: (not s.few, s.value))

    @property
    def test(self) -> str:
        """Power and level of the test."""
        comparisons = self.worst.comparisons
        level = f"{LEVEL:.0%}".replace("%", " %") + (f" / {comparisons} rows" if comparisons > 1 else "")
        return f"{POWER:.0%} power, two-sided at {level}".replace("%", " %", 1)

    def text(self, number: Callable[[float], str] = short_number) -> str:
        """What can be found with how much, and what the wished difference needs.

        For the worst row and the best, and for the rows for which no difference is found.
        """
        known, found = [s for s in self.rows if not s.few], []
        if known:
            worst, best = self.worst, min(known, key=lambda s: s.value)
            of = f" for {worst.row}" * (len(self.rows) + len(self.rounding) > 1) + ", the largest," * (len(known) > 1)
            found.append(f"about {number(worst.value)}{of} {worst.amount()}; {worst.needs(number)}")
            if len(known) > 1:
                found.append(f"about {number(best.value)} for {best.row}, the smallest")
                open_ = [s for s in known if s.row in self.undecided and s not in (worst, best)]
                each = ", ".join(f"{number(s.value)} for {s.row}" for s in open_)
                found += [f"of the rows for which no difference is found: about {each}"] * bool(each)
        found += [self._few(few, number) for few in _alike(s for s in self.rows if s.few)]
        found += [f"{', '.join(self.rounding)}: only rounding varies"] * bool(self.rounding)
        return "; ".join(found)

    def _few(self, rows: Sequence[Smallest], number: Callable[[float], str]) -> str:
        """What may be said of rows of which few examples differ, in one sentence for all."""
        worst, several = max(rows, key=lambda s: s.value), len(rows) > 1
        names = f"{', '.join(s.row for s in rows)}: " * (len(self.rows) > 1)
        least, most = min(s.differing or 0 for s in rows), max(s.differing or 0 for s in rows)
        differ = f"{least} to {most}" if least < most else f"{most}"
        return (
            f"{names}too few examples differ ({differ} of {worst.examples}) to say what this table can find; as if "
            f"rows shared nothing it is {'at most ' * several}about {number(worst.value)} {worst.amount()}; "
            f"{worst.needs(number)}"
        )

    def as_json(self) -> dict[str, Any]:
        """The numbers of the worst row, with power and level, and those of each row."""
        rows = [asdict(s) for s in self.rows]
        test = {"power": POWER, "level": LEVEL / self.worst.comparisons}
        return {**asdict(self.worst), **test, "rows": rows, "rounding": list(self.rounding)}


def _alike(rows: Iterable[Smallest]) -> list[list[Smallest]]:
    """Rows with equal numbers of seeds and examples."""
    found: dict[str, list[Smallest]] = {}
    for row in rows:
        found.setdefault(row.amount(), []).append(row)
    return list(found.values())


def smallest_of(
    differences: Sequence[tuple[str, Difference]],
    comparisons: int,
    *,
    largest: float,
    wished: float | None = None,
    seeds: int | None = None,
) -> SmallestOfRows | None:
    """The smallest difference like each of these; None without comparable examples, or if only rounding varies.

    Args:
        differences: Names of rows or pairs, and their differences.
        comparisons: Number of comparisons.
        largest: The largest value of the metric, in size: differences that are far smaller are rounding.
        wished: The difference that is asked for; None takes a round one below what can be found.
        seeds: Number of seeds; None takes those that have finished.
    """
    level, found, rounding = LEVEL / comparisons, [], []
    for name, d in differences:
        if d.components is None or d.units is None:
            continue
        differing = None if d.better is None or d.worse is None else d.better + d.worse
        few = differing is not None and differing < ENOUGH_DIFFER
        c = positive((d.cautious if few else None) or d.components)
        if d.trained_seeds < LEAST_SEEDS:
            c = c._replace(seeds=None)
        k, n = seeds or d.trained_seeds, d.units
        value = detectable(c, k, n, level)
        if value <= max(ROUNDING * largest, NOISE):
            rounding.append(name)
            continue
        wish = wished or _below(0.85 * value)
        these = k < LEAST_SEEDS or c.seeds is None
        more = None if these else seeds_needed(c, wish, n, level)
        needed = examples_needed(c, wish, k, level)
        found.append(Smallest(name, value, k, n, differing, comparisons, these, wish, more, needed))
    return SmallestOfRows(tuple(found), tuple(rounding)) if found else None


def largest_of(values: Iterable[float]) -> float:
    """The largest of these in size; numbers that are not finite do not count."""
    return max((abs(v) for v in values if math.isfinite(v)), default=0.0)


def _below(value: float) -> float:
    """The value rounded down to one digit."""
    step = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.floor(value / step + 1e-9) * step:.1g}")
