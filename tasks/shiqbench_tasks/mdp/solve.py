"""Exact solutions: soft value iteration, evaluation of a policy, divergences. Pure functions, fp64.

The objective is ``J(pi) = E sum_t gamma^t (r_t - beta ln pi(a_t|s_t)/pi_ref(a_t|s_t))``. Its optimum follows from one
sweep over the layers from the last to the first, and ``J(pi*) - J(pi) = beta sum_t gamma^t E_pi KL(pi || pi*)(s_t)``.

Legend: S instances, N states, A actions, B branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from shiqbench_tasks.mdp.mdps import Mdp


@dataclass(frozen=True)
class Solution:
    """The optimum of the objective.

    Attributes:
        logp_SNA: Log-probabilities of pi*.
        value_SN: V*, the best objective from each state on.
        q_SNA: Q*.
    """

    logp_SNA: Tensor
    value_SN: Tensor
    q_SNA: Tensor


def solve(mdp: Mdp) -> Solution:
    """Soft value iteration: ``Q = r + gamma E V'``, ``V = beta ln sum_a pi_ref exp(Q / beta)``, V = 0 at the end."""

    def backup(q: Tensor, first: int, last: int) -> Tensor:
        return mdp.beta * (mdp.ref_logp_SNA[:, first:last] + q / mdp.beta).logsumexp(-1)

    value_SN, q_SNA = _sweep(mdp, mdp.reward_SNA, backup)
    logp_SNA = mdp.ref_logp_SNA + (q_SNA - value_SN[..., None]) / mdp.beta
    return Solution(logp_SNA.log_softmax(-1), value_SN, q_SNA)


def objective(mdp: Mdp, logp_SNA: Tensor) -> Tensor:
    """J of a policy at the start, ``[S]``."""
    prob_SNA = logp_SNA.exp()
    gain_SNA = mdp.reward_SNA - mdp.beta * (logp_SNA - mdp.ref_logp_SNA)
    value_SN, _ = _sweep(mdp, gain_SNA, lambda q, first, last: (prob_SNA[:, first:last] * q).sum(-1))
    return value_SN[:, 0]


def occupancy(mdp: Mdp, logp_SNA: Tensor, gamma: float | None = None) -> Tensor:
    """Expected discounted visits of each state, ``sum_t gamma^t P(s_t = s)``, ``[S, N]``; default gamma: the MDP's."""
    prob_SNA, gamma = logp_SNA.exp(), mdp.gamma if gamma is None else gamma
    seeds, n, _ = prob_SNA.shape
    visits_SN = prob_SNA.new_zeros(seeds, n + 1)
    visits_SN[:, 0] = 1.0
    for first, last in mdp.layers:
        flow = visits_SN[:, first:last, None, None] * prob_SNA[:, first:last, :, None] * mdp.chances[:, first:last]
        visits_SN.scatter_add_(1, mdp.successors[:, first:last].flatten(1), gamma * flow.flatten(1))
    return visits_SN[:, :n]


def divergence(mdp: Mdp, logp_SNA: Tensor, other_SNA: Tensor) -> Tensor:
    """``sum_t gamma^t E_pi KL(pi || other)(s_t)`` in nats, ``[S]``."""
    return (occupancy(mdp, logp_SNA) * (logp_SNA.exp() * (logp_SNA - other_SNA)).sum(-1)).sum(-1)


def expected_return(mdp: Mdp, logp_SNA: Tensor) -> Tensor:
    """``E sum_t gamma^t r_t`` of a policy, ``[S]``."""
    return (occupancy(mdp, logp_SNA) * (logp_SNA.exp() * mdp.reward_SNA).sum(-1)).sum(-1)


def relative_regret(mdp: Mdp, solution: Solution, logp_SNA: Tensor) -> Tensor:
    """``(J(pi*) - J(pi)) / (J(pi*) - J(pi_ref))``, ``[S]``: 1 at the reference, 0 at the optimum.

    Computed from divergences, which lose no digits near the optimum. NaN for an instance whose optimum is the
    reference: nothing can be gained there, so there is nothing to relate a regret to.
    """
    at_reference = divergence(mdp, mdp.ref_logp_SNA, solution.logp_SNA)
    regret = divergence(mdp, logp_SNA, solution.logp_SNA) / at_reference
    return regret.where(at_reference > 0, float("nan"))


def value_error(mdp: Mdp, solution: Solution, logit_SNA: Tensor) -> Tensor:
    """Root mean square of ``beta (v - v_ref) - V*`` over the states that the reference visits, ``[S]``."""
    value_SN = mdp.beta * (logit_SNA.logsumexp(-1) - mdp.ref_logit_SNA.logsumexp(-1))
    visits_SN = occupancy(mdp, mdp.ref_logp_SNA, gamma=1.0)
    return ((visits_SN * (value_SN - solution.value_SN).square()).sum(-1) / visits_SN.sum(-1)).sqrt()


def mass_outside(mdp: Mdp, logp_SNA: Tensor, actions_SNK: Tensor) -> Tensor:
    """Probability of acting outside these actions, averaged over the steps of an episode, ``[S]``."""
    outside_SN = 1 - logp_SNA.exp().gather(-1, actions_SNK).sum(-1)
    visits_SN = occupancy(mdp, logp_SNA, gamma=1.0)
    return (visits_SN * outside_SN.clamp(min=0)).sum(-1) / visits_SN.sum(-1)


def _sweep(mdp: Mdp, gain_SNA: Tensor, backup: Callable[[Tensor, int, int], Tensor]) -> tuple[Tensor, Tensor]:
    """Values from the last layer to the first: ``Q = gain + gamma E V'`` and V by ``backup(Q, first, last)``."""
    seeds, n, _ = gain_SNA.shape
    value_SN = gain_SNA.new_zeros(seeds, n + 1)  # the end has value 0
    q_SNA = torch.empty_like(gain_SNA)
    for first, last in reversed(mdp.layers):
        after = mdp.successors[:, first:last]
        later = value_SN.gather(1, after.flatten(1)).view(after.shape)
        q = gain_SNA[:, first:last] + mdp.gamma * (mdp.chances[:, first:last] * later).sum(-1)
        q_SNA[:, first:last] = q
        value_SN[:, first:last] = backup(q, first, last)
    return value_SN[:, :n], q_SNA
