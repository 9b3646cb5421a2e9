r"""Estimates of KL(policy || reference) from the policy's own samples. Pure functions.

For a sequence $a_1 \ldots a_T$ that the policy $\pi$ sampled at temperature 1, with
$d_t = \ln \pi(a_t|s_t) - \ln \pi_{ref}(a_t|s_t)$,

$$ k_1 = \sum_t d_t, \qquad k_3 = \sum_t (e^{-d_t} - 1 + d_t). $$

Both have the mean $KL(\pi \,\|\, \pi_{ref})$ of whole sequences: $k_1$ by definition; $k_3$ because each term's mean
over $a_t$ is $KL(\pi(\cdot|s_t) \,\|\, \pi_{ref}(\cdot|s_t))$, as $E_\pi[\pi_{ref} / \pi] = 1$ wherever the policy's
support contains the reference's, and the chain rule sums those. $k_3$ is never negative, and its variance is smaller
if the two are close. Neither estimate is valid if sampling cuts the tail of the distribution (``top_p``, another
temperature). If a token limit may cut sequences, the estimates are of the KL of the cut sequences.

Source: J. Schulman (2020), Approximating KL divergence, joschu.net/blog/kl-approx.html. The sum over tokens is our
change; it replaces the ratio of whole sequences, whose variance explodes with the length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def k1(policy: Sequence[float], reference: Sequence[float]) -> float:
    """Return the log-ratio of one sampled sequence, in nats; it is unbiased and may be negative.

    Args:
        policy: Log-probability of each sampled token under the policy.
        reference: Log-probability of each sampled token under the reference.

    Raises:
        ValueError: The two sequences differ in length.
    """
    return math.fsum(p - r for p, r in zip(policy, reference, strict=True))


def k3(policy: Sequence[float], reference: Sequence[float]) -> float:
    """Return the estimate of one sampled sequence, in nats, that is never negative; arguments as for :func:`k1`."""
    return math.fsum(math.expm1(r - p) - (r - p) for p, r in zip(policy, reference, strict=True))
