"""How long steps of unknown length took the last time on this machine, so that waiting has an end in sight."""

from __future__ import annotations

from contextlib import suppress

from shiqbench.base.cache import cache_dir
from shiqbench.base.files import read_json, write_json

FILE = "durations.json"


def last_time(name: str) -> float | None:
    """Seconds that a step took the last time; None if that is unknown."""
    try:
        found = read_json(cache_dir() / FILE)[name]
    except (OSError, ValueError, KeyError, TypeError):  # absent, or written by something else: nothing depends on it
        return None
    return found if isinstance(found, float) else None


def remember(name: str, seconds: float) -> None:
    """Keep how long a step took."""
    with suppress(OSError):  # a cache that cannot be written is reported where something needs it
        try:
            known = read_json(cache_dir() / FILE)
        except (OSError, ValueError):
            known = {}
        write_json(cache_dir() / FILE, {**(known if isinstance(known, dict) else {}), name: seconds})
