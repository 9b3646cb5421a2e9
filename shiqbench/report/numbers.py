"""Numbers with intervals as text: one notation in one interval, one number of decimals in one column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DECIMALS = 3
MOST_DECIMALS = 4
MOST_DIGITS = 6  # after the first, of a number with an exponent
SMALL, LARGE = 1e-3, 1e7  # numbers outside of this range have an exponent


def short_number(value: float) -> str:
    """Three decimals, or two significant digits with an exponent if the number is nonzero and below 0.001 in size."""
    return in_column([(value, None, None)])[0]


def in_column(numbers: Sequence[tuple[float, float | None, float | None]]) -> list[str]:
    """Numbers and their intervals as text, for one column of a table.

    A number and both ends of its interval have one notation. The decimals follow the narrowest interval: three if it
    is 0.02 to 2 wide, otherwise as many as give two digits of half its width. Rows with an exponent have their own
    number of digits.

    Args:
        numbers: Value, low end and high end of each row; ends are None without an interval.
    """
    fixed = [_decimals(*n) for n in numbers if not _exponent(*n)]
    decimals = max((d for d in fixed if d is not None), default=DECIMALS)
    return [_text(n, f"z.{_digits(*n)}e" if _exponent(*n) else f"z.{decimals}f") for n in numbers]


def freedoms(dfs: Iterable[float | None]) -> list[str]:
    """Degrees of freedom as text, ``df 3.2 to 17.1``; empty without finite ones."""
    known = sorted(df for df in dfs if df is not None and math.isfinite(df))
    ends = dict.fromkeys(f"{df:.3g}" for df in (known[:1] + known[-1:]))
    return [f"df {' to '.join(ends)}"] if ends else []


def amount(value: float | None) -> str:
    """Updates, tokens or seconds: three digits below 100 and from 100,000 on, else in whole numbers."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 100 <= value < 1e5 else f"{value:.3g}"


def _text(number: tuple[float, float | None, float | None], spec: str) -> str:
    value, low, high = number
    ends = "" if low is None or high is None else f" [{low:{spec}}, {high:{spec}}]"
    return f"{value:{spec}}{ends}"


def _size(*numbers: float | None) -> float:
    return max((abs(n) for n in numbers if n is not None and math.isfinite(n)), default=0.0)


def _exponent(value: float, low: float | None, high: float | None) -> bool:
    size = _size(value, low, high)
    return 0 < size < SMALL or size >= LARGE


def _place(value: float, low: float | None, high: float | None) -> int | None:
    """Power of ten of half the interval's width; None without an interval."""
    half = 0.0 if low is None or high is None else (high - low) / 2
    return math.floor(math.log10(half)) if math.isfinite(half) and half > 0 else None


def _decimals(value: float, low: float | None, high: float | None) -> int | None:
    place = _place(value, low, high)
    if place is None or place in (-1, -2):
        return None if place is None else DECIMALS
    return min(MOST_DECIMALS, max(0, 1 - place))


def _digits(value: float, low: float | None, high: float | None) -> int:
    """Decimals of the number before the exponent."""
    place = _place(value, low, high)
    if place is None:
        return 1
    return min(MOST_DIGITS, max(1, math.floor(math.log10(_size(value, low, high))) - place + 1))
