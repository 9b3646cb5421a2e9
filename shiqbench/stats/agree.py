"""Whether values that were computed twice agree."""

from __future__ import annotations

import math
from typing import Any

TINY = 1e-9  # absolute difference that is rounding
SAME_SCORE = 1e-6  # relative difference of scores that are computed by another way


def agree(said: Any, again: Any, relative: float) -> bool:
    """Whether two values are equal, numbers up to rounding; a truth value is no number.

    Args:
        said: One value.
        again: The other.
        relative: Relative difference of numbers that agree.
    """
    if isinstance(said, bool) or isinstance(again, bool) or not isinstance(again, int | float):
        return bool(said == again)
    return isinstance(said, int | float) and math.isclose(said, again, rel_tol=relative, abs_tol=TINY)
