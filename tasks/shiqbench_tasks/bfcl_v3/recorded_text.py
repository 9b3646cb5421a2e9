"""Recorded messages that are text: finds the format in which a model wrote its calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shiqbench_tasks.bfcl_v3.calls import Outcome, Parsed
from shiqbench_tasks.bfcl_v3.formats import FORMATS
from shiqbench_tasks.bfcl_v3.native import without_thought
from shiqbench_tasks.bfcl_v3.official_calls import read_officially

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OFFICIAL = "official"  # the list of calls that the leaderboard's prompt asks for


def find_reader(texts: Sequence[str], version: str) -> tuple[str, Callable[[str], Parsed], int]:
    """The format that finds calls in the most messages; the leaderboard's own if there are several.

    Args:
        texts: All messages of one file.
        version: ``v3`` or ``v4``.

    Returns:
        Name of the format, function from a message to calls, and the number of messages in which it finds calls.
    """
    readers: dict[str, Callable[[str], Parsed]] = {OFFICIAL: partial(read_officially, version=version)}
    readers |= {name: partial(_native, form.read) for name, form in FORMATS.items()}
    found = {name: sum(read(text).outcome is Outcome.CALLS for text in texts) for name, read in readers.items()}
    best = max(found, key=lambda name: found[name])  # the first of several
    return best, readers[best], found[best]


def _native(read: Callable[[str], Parsed], text: str) -> Parsed:
    return read(without_thought(text))
