r"""rebel: regression of relative rewards.

$$ L = (h_i - h_j - \eta (R_i - R_j))^2, \qquad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)} $$

over two episodes of one group. Their returns may be equal: then h should be equal too. With eta = 1/beta the loss is
that of copg for k = 2, divided by beta^2.

Gao et al. 2024, arXiv 2404.16767; there pi_ref is the previous iterate; in this offline form it is the starting model.
eta 1 is the default of its authors' code, for rewards on the scale of a reward model (about unit variance). Returns
between 0 and 1 need larger values to move the policy at all.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class RebelConfig(AlgorithmConfig):
    """eta is in nats per unit of reward; it is the inverse of beta in the other algorithms."""

    eta: float = Field(default=1.0, gt=0, description="an episode moves by about eta times its return, in nats")


class Rebel(Algorithm[RebelConfig]):
    """Regresses differences of log-ratios on differences of returns."""

    unit = "group"

    @property
    def group_size(self) -> int:
        """Two episodes, whose returns may be equal."""
        return 2

    @property
    def temperature(self) -> float:
        """1/eta: at the optimum of this beta the loss is zero on all pairs of a prompt."""
        return 1 / self.config.eta

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per two episodes."""
        h_i, h_j = batch.pairs(batch.logratio_E)
        r_i, r_j = batch.pairs(batch.return_E)
        residual_U = h_i - h_j - self.config.eta * (r_i - r_j)
        metrics = {
            "residual_rms": residual_U.detach().abs(),
            "return_over_beta": (r_i + r_j) / 2 * self.config.eta,
        }
        return Loss(batch.weight_U * residual_U.square(), batch.weight_U, metrics)
