"""What an answer is rated: a number within its range, and the overall scores of openbmb/UltraFeedback corrected."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench_tasks.rows.bad_rows import BadRow

if TYPE_CHECKING:
    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig

ASPECTS = "fine-grained_score"  # openbmb/UltraFeedback: the mean of an answer's aspects, from 1 to 5
USELESS, GOOD = 2.0, 4.0  # where its publishers divide the answers that they rate 10 overall
DOUBTFUL = object()  # in the place of a score that may be a 1 as well as a 10


def rating(score: Any, reward: float | None, config: UltraFeedbackConfig) -> float:
    """An answer's rating.

    Args:
        score: What the column has; None if there is none.
        reward: What the answer's own message has.
        config: Lowest and highest rating.

    Raises:
        BadRow: There is none, or the two differ, or it is outside its range.
    """
    if reward is not None and score is not None and _number(score) != reward:
        raise BadRow("an answer with a rating and another reward", "", f"{score}, {reward}")
    value = reward if score is None else score
    number = _number(value)
    if number is None:
        raise BadRow("a rating that is no number", "--set task.returns=preference", value)
    if not config.rating_low <= number <= config.rating_high:
        cause = f"a rating outside [{config.rating_low:g}, {config.rating_high:g}]"
        raise BadRow(cause, "set task.rating_low and task.rating_high", number)
    return number


def corrected(score: Any, completion: dict[str, Any]) -> Any:
    """An overall score; many 10s were meant as 1, and the answer's own aspects tell which.

    Returns:
        The score, 1, or :data:`DOUBTFUL`.
    """
    aspects = _aspects(completion)
    if _number(score) != 10 or aspects is None or aspects > GOOD:
        return score
    return 1.0 if aspects <= USELESS else DOUBTFUL


def _aspects(completion: dict[str, Any]) -> float | None:
    """The mean rating of an answer's aspects; None if it has none."""
    mean = _number(completion.get(ASPECTS))
    if mean is not None:
        return mean
    annotations = completion.get("annotations")
    each = annotations.values() if isinstance(annotations, dict) else []
    ratings = [_number(a.get("Rating")) for a in each if isinstance(a, dict)]
    found = [r for r in ratings if r is not None]
    return fmean(found) if found else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
