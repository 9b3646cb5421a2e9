"""Guards, so that a well-formed but hostile call neither blocks the machine nor makes runs differ.

They affect no call of the ground truth; a test plays all of these calls.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench_tasks.bfcl_v3.calls import Call

MAX_PRECISION = 1_000  # digits
MAX_POWER_BITS = 10_000  # size of the result
MAX_TREE_ITEMS = 20_000  # copied folders share their contents, so a few calls can make endless trees
MAX_TREE_DEPTH = 200
MAX_REPEATS = 1_000  # length of a text or list that is multiplied by a number


class RefusedError(ValueError):
    """The call would cost too much; the model receives this error's text."""


def check_cost(call: Call, method: Callable[..., Any]) -> None:
    """Refuse a call that costs too much.

    Args:
        call: The call.
        method: The bound method that the call names.

    Raises:
        RefusedError: The call costs too much.
    """
    values = [*call.args, *call.kwargs.values()]
    _check_finite(values)
    if call.name in ("logarithm", "square_root", "round_number"):
        _check_digits(call)
    elif call.name == "power":
        _check_power(call)
    elif call.name == "compute_exchange_rate":
        if any(isinstance(v, (str, list, tuple)) and len(v) > MAX_REPEATS for v in values):
            raise RefusedError("an argument is too long")
    elif call.name in ("find", "du"):
        _check_tree(method.__self__._current_dir)  # type: ignore[attr-defined]


def _check_finite(value: Any) -> None:
    """Refuse ``NaN`` and infinities, which JSON may contain; in the official code they are undefined names."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(f"name '{abs(value)}' is not defined")
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_finite(item)
    elif isinstance(value, dict):
        _check_finite(list(value.values()))


def _check_digits(call: Call) -> None:
    named = [call.kwargs.get("precision", 0), call.kwargs.get("decimal_places", 0), *call.args[1:]]
    if any(isinstance(v, (int, float)) and abs(v) > MAX_PRECISION for v in named):
        raise RefusedError(f"precision must be at most {MAX_PRECISION}")


def _check_power(call: Call) -> None:
    given = {**dict(zip(("base", "exponent"), call.args, strict=False)), **call.kwargs}
    base, exponent = given.get("base"), given.get("exponent")
    if not isinstance(base, int) or not isinstance(exponent, int):
        return  # floats overflow by themselves
    if abs(base) > 1 and base.bit_length() * exponent > MAX_POWER_BITS:
        raise RefusedError("the result is too large")


def _check_tree(folder: Any) -> None:
    """Count the items that a walk would visit, and stop early."""
    items, waiting = 0, [(folder, 0)]
    while waiting:
        directory, depth = waiting.pop()
        items += len(directory.contents)
        if items > MAX_TREE_ITEMS or depth > MAX_TREE_DEPTH:
            raise RefusedError("the folder holds too much")
        waiting += [(i, depth + 1) for i in directory.contents.values() if hasattr(i, "contents")]


_SET_RESPONSES = {
    "book_flight": re.compile(r"(?<=Must be one of \{)[^{}]*(?=\})"),
    "edit_ticket": re.compile(r"(?<=Invalid fields for update: )[^\"]*"),
}


def in_fixed_order(name: str, response: str) -> str:
    """Sort the lists that two official tools write in the order of a set, which differs between processes."""
    pattern = _SET_RESPONSES.get(name)
    if pattern is None:
        return response
    return pattern.sub(lambda found: ", ".join(sorted(found.group().split(", "))), response)
