r"""Estimates of KL(policy || reference) from the policy's own samples. Pure functions of log-probabilities.

For a sequence $a_1 \ldots a_T$ that the policy $\pi$ sampled at temperature 1, with
$d_t = \ln \pi(a_t|s_t) - \ln \pi_{ref}(a_t|s_t)$,

$$ k_1 = \sum_t d_t, \qquad k_3 = \sum_t (e^{-d_t} - 1 + d_t). $$

Both have the mean $KL(\pi \,\|\, \pi_{ref})$ of whole sequences: $k_1$ by definition; $k_3$ because each term's mean
over $a_t$ is $KL(\pi(\cdot|s_t) \,\|\, \pi_{ref}(\cdot|s_t))$, as $E_\pi[\pi_{ref} / \pi] = 1$ wherever the policy's
support holds the reference's, and the chain rule sums those. $k_3$ is never negative, and its variance is smaller
where the two are close. Sampling that cuts the tail of the distribution (``top_p``, another temperature) voids both.
For sequences that a token limit may cut, it is the KL of the sequences as cut.

Source: J. Schulman (2020), Approximating KL divergence, joschu.net/blog/kl-approx.html; the sum over tokens, in place
of the ratio of whole sequences whose variance explodes with the length, is ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def k1(policy: Sequence[float], reference: Sequence[float]) -> float:
    """The log-ratio of one sampled sequence, in nats: unbiased, of either sign.

    Args:
        policy: Log-probability of each sampled token under the policy.
        reference: Under the reference.

    Raises:
        ValueError: The two differ in length.
    """
    return math.fsum(p - r for p, r in zip(policy, reference, strict=True))


def k3(policy: Sequence[float], reference: Sequence[float]) -> float:
    """The estimate of one sampled sequence, in nats, that is never negative; arguments as for :func:`k1`."""
    return math.fsum(math.expm1(r - p) - (r - p) for p, r in zip(policy, reference, strict=True))
