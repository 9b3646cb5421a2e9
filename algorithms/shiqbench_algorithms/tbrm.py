r"""tbrm: trajectory Bellman residual minimisation.

$$ L = \big( h - R/\beta + v(s_1) \big)^2, \qquad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \quad
v(s) = \ln \sum_a e^{l(s,a)} $$

per episode, s_1 the state of the first action token, R the return. The logits carry the value: no head is
needed. It is the t = 0 term of shiq without the shift, divided by beta^2. v(s_1) of a pretrained model is
not 0, and the loss first spends gradient on it; reval subtracts the reference's.

Yuan et al. 2025, arXiv 2505.15311. Its beta was not read: 0.02 is ours, as for shiq.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class TbrmConfig(AlgorithmConfig):
    """beta in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")


class Tbrm(Algorithm[TbrmConfig]):
    """Squared Bellman residual of the whole episode, in nats."""

    @property
    def temperature(self) -> float:
        """No residual is left at the optimum of beta, where v(s_1) is its log-normaliser."""
        return self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """One value per episode."""
        h_E, target_E = batch.logratio_E, batch.return_E / self.config.beta
        value_E = batch.lse_EA[:, 0]
        residual_E = h_E - target_E + value_E
        metrics = {
            "residual_rms": residual_E.detach().abs(),
            "value": self.config.beta * value_E.detach(),
            "logratio": h_E.detach(),
            "return_over_beta": target_E,
        }
        return Loss(batch.weight_U * residual_E.square(), batch.weight_U, metrics)
