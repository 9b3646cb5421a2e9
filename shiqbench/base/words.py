"""Words in messages."""

from __future__ import annotations


def counted(number: float, noun: str) -> str:
    """A number with its noun: ``1 seed``, ``2 seeds``.

    Args:
        number: The number.
        noun: The noun in the singular; its plural ends in s.
    """
    return f"{number:g} {noun}{'s' * (number != 1)}"
