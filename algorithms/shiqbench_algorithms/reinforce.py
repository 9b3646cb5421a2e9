r"""reinforce: offline policy gradient with a leave-one-out baseline.

$$ L = - \mathrm{mean}_i\; w_i\; \mathrm{sg}\big[ S_i - \tfrac{1}{k-1} \textstyle\sum_{j \ne i} S_j \big]
\sum_t \ln \pi(a_t|s_t), \qquad S = R - \beta h, \quad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)} $$

over k episodes of one group; sg stops the gradient. Only the gradient has a meaning; the value has none.
Without a ratio w = 1, and the gradient, summed over the k episodes, is that of copg divided by 2 beta. With
``importance_clip`` w = sg[min(pi/mu, clip)] over the whole episode, where mu is the policy that sampled it. At the
optimum of beta every advantage is 0, for any weights.

RLOO: Ahmadian et al. 2024, arXiv 2402.14740, which samples on policy (w = 1). The offline use, the truncated
ratio and the defaults are ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need

if TYPE_CHECKING:
    from torch import Tensor


class ReinforceConfig(AlgorithmConfig):
    """beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")
    k: int = Field(default=2, ge=2, description="number of episodes of a group that form each other's baseline")
    importance_clip: float | None = Field(
        default=None, ge=1, description="weight episodes by pi/mu, at most this; null: equal weights"
    )


class Reinforce(Algorithm[ReinforceConfig]):
    """Maximises the log-likelihood, weighted by leave-one-out advantages."""

    unit = "group"

    @property
    def group_size(self) -> int:
        """Number of episodes per unit."""
        return self.config.k

    @property
    def needs(self) -> frozenset[Need]:
        """Log-probabilities of the sampling policy, if ``importance_clip`` is set."""
        return frozenset() if self.config.importance_clip is None else frozenset({"behaviour_logp"})

    @property
    def temperature(self) -> float | None:
        """Beta: at its optimum all S of a prompt are equal, so every advantage is 0. None with a ratio.

        With a ratio the optimum is a fixed point too, but episodes that became rare have almost no weight. On exact
        MDPs, training comes near the optimum in small steps and collapses in large ones, so no optimum is claimed.
        """
        return self.config.beta if self.config.importance_clip is None else None

    def _weight(self, batch: Batch) -> Tensor:
        """Return the truncated importance ratio per episode ``[E]``."""
        if self.config.importance_clip is None:
            return batch.length_E.new_ones(batch.length_E.shape)
        log_ratio_E = ((batch.logp_EA - batch.need("behaviour_logp_EA")) * batch.valid_EA).sum(-1).detach()
        return log_ratio_E.clamp(max=math.log(self.config.importance_clip)).exp()

    def loss(self, batch: Batch) -> Loss:
        """Compute the sum over the k episodes of a group; the denominator counts episodes."""
        k, h_E = self.config.k, batch.logratio_E
        score_UK = batch.groups(batch.return_E - self.config.beta * h_E, k).detach()
        # S_i - mean_{j != i} S_j = k/(k-1) (S_i - mean S)
        advantage_UK = k / (k - 1) * (score_UK - score_UK.mean(-1, keepdim=True))
        weight_UK = batch.groups(self._weight(batch), k)
        loss_U = -(weight_UK * advantage_UK * batch.groups(batch.logp_EA.sum(-1), k)).sum(-1)
        metrics = {
            "advantage_rms": advantage_UK.square().mean(-1).sqrt(),
            "ratio": weight_UK.mean(-1),
            "return_over_beta": batch.groups(batch.return_E, k).mean(-1) / self.config.beta,
        }
        return Loss(batch.weight_U * loss_U, batch.weight_U * k, metrics)
