r"""dmpo: direct multi-turn preference optimisation.

$$ L = - \ln \sigma(\beta (g_w - g_l)), \qquad
g = \sum_{k<T} \phi(k, T) \sum_{t \in turn\ k} \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \qquad
\phi(k, T) = \gamma^k \frac{1 - \gamma^{T-k}}{1 - \gamma^T} $$

over pairs of one group, where w has the higher return. A turn is one message of the model, T their number. The loss
is ln 2 at the reference.

phi follows from a constraint on the occupancy of states and actions: the reward of a turn is beta times the log-ratio
of all turns up to it. The discounted sum of rewards is divided by that of ones: a longer episode has no larger margin.
With gamma = 1, phi is its limit (T - k) / T; with one turn, this is DPO.

Shi et al. 2024, arXiv 2406.14868. We had its abstract and derived phi from it; the default of gamma is our choice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from shiqbench.plugin import Batch, Loss, Need, log_sigmoid
from shiqbench_algorithms.pairs import PairAlgorithm, PairConfig

if TYPE_CHECKING:
    from torch import Tensor


class DmpoConfig(PairConfig):
    """beta 0.1 is the default of DPO."""

    beta: float = Field(default=0.1, gt=0, description="how strongly the policy is kept near the reference")
    gamma: float = Field(default=0.9, gt=0, le=1, description="discount per turn")


class Dmpo(PairAlgorithm[DmpoConfig]):
    """Logistic loss on the difference of log-ratios that are discounted and normalised by turns."""

    @property
    def needs(self) -> frozenset[Need]:
        """The turn of each token."""
        return frozenset({"turns"})

    @property
    def loss_at_reference(self) -> float:
        """Ln 2, the loss at margin 0."""
        return math.log(2)

    def weights(self, batch: Batch) -> Tensor:
        """Compute phi of every action token, ``[E, A]``."""
        turn_EA, gamma = batch.need("turn_EA").to(batch.logit_EA.dtype), self.config.gamma
        left_EA = (turn_EA * batch.valid_EA).amax(-1, keepdim=True) + 1 - turn_EA  # T - k
        turns_EA = left_EA + turn_EA
        if gamma == 1:
            return left_EA / turns_EA
        return gamma**turn_EA * (1 - gamma**left_EA) / (1 - gamma**turns_EA)

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per pair."""
        better_U, worse_U = batch.pairs((self.weights(batch) * batch.logratio_EA).sum(-1))
        margin_U = self.config.beta * (better_U - worse_U)
        h_w, h_l = batch.pairs(batch.logratio_E.detach())
        metrics = {
            "margin": margin_U.detach(),
            "accuracy": (margin_U > 0).to(margin_U.dtype),
            "logratio_better": h_w,
            "logratio_worse": h_l,
        }
        return Loss(-batch.weight_U * log_sigmoid(margin_U), batch.weight_U, metrics)
