"""Win rates from pairwise preferences, plain and at equal length. Pure functions."""

from __future__ import annotations

import math
from statistics import stdev
from typing import TYPE_CHECKING

from shiqbench.stats.intervals import Z_95, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIOR_SD = 2.5  # of both coefficients; keeps them finite if length separates winners from losers
ITERATIONS = 50


def win_rate(preferences: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean preference with a 95 % interval over pairs; a tie counts one half.

    The interval is Wilson's. Ties vary less than wins and losses, so with many ties it is wider than necessary.

    Args:
        preferences: One number per pair: 1 for a win, 0 for a loss, a number between them for a tie.

    Returns:
        Rate, lower and upper end; without pairs 0.5, 0 and 1.
    """
    won, n = math.fsum(preferences), len(preferences)
    low, high = wilson(won, n)
    return won / n if n else 0.5, low, high


def win_rate_at_equal_length(preferences: Sequence[float], differences: Sequence[float]) -> tuple[float, float, float]:
    """Estimate the win rate at equal length: a logistic regression on the difference in length, evaluated at zero.

    The length term is that of Y. Dubois et al. (2024), "Length-Controlled AlpacaEval", arXiv 2404.04475: the hyperbolic
    tangent of the difference over its standard deviation. Their win rate is another one: it also has a term for the
    difficulty of each instruction and another regularisation. Here both coefficients have normal priors of standard
    deviation 2.5. Ties vary less than wins and losses; the variance is scaled by what is left of it.

    Args:
        preferences: As in :func:`win_rate`.
        differences: For each pair, our length minus their length, in any unit.

    Returns:
        Rate at equal length, lower and upper end of a 95 % interval (normal on the log-odds).

    Raises:
        ValueError: The two sequences differ in length.
    """
    if len(preferences) != len(differences):
        raise ValueError(f"{len(preferences)} preferences, {len(differences)} differences")
    scale = (stdev(differences) if len(differences) > 1 else 0.0) or 1.0
    x = [math.tanh(d / scale) for d in differences]
    a = b = 0.0
    for _ in range(ITERATIONS):
        p = [1 / (1 + math.exp(-(a + b * v))) for v in x]
        gradient_a = math.fsum(y - q for y, q in zip(preferences, p, strict=True)) - a / PRIOR_SD**2
        gradient_b = math.fsum((y - q) * v for y, q, v in zip(preferences, p, x, strict=True)) - b / PRIOR_SD**2
        weights = [q * (1 - q) for q in p]
        aa = math.fsum(weights) + 1 / PRIOR_SD**2
        ab = math.fsum(w * v for w, v in zip(weights, x, strict=True))
        bb = math.fsum(w * v * v for w, v in zip(weights, x, strict=True)) + 1 / PRIOR_SD**2
        determinant = aa * bb - ab * ab
        step_a = (bb * gradient_a - ab * gradient_b) / determinant
        step_b = (aa * gradient_b - ab * gradient_a) / determinant
        a, b = a + step_a, b + step_b
        if abs(step_a) + abs(step_b) < 1e-12:
            break
    # A preference y between 0 and 1 has the variance p (1 - p) - y (1 - y) where a win or a loss has p (1 - p).
    left = 1 - math.fsum(y * (1 - y) for y in preferences) / math.fsum(weights) if weights else 1.0
    half = Z_95 * math.sqrt(bb / determinant * max(left, 1 / max(1, len(preferences))))
    return _share(a), _share(a - half), _share(a + half)


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
