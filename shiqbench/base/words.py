"""Words in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def counted(number: float, noun: str) -> str:
    """A number with its noun: ``1 seed``, ``2 seeds``.

    Args:
        number: The number.
        noun: The noun in the singular; its plural ends in s.
    """
    return f"{number:.15g} {noun}{'s' * (number != 1)}"


def listed(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first of some words or clauses, and how many more there are: ``a, b and 3 more``.

    Args:
        words: The words.
        most: Number of words that are listed.
        separator: Text between them.
    """
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return separator.join(words[:most]) + more
