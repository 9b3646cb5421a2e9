r"""tbrm: trajectory Bellman residual minimisation.

$$ L = \big( h - R/\beta + v(s_1) \big)^2, \qquad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \quad
v(s) = \ln \sum_a e^{l(s,a)} $$

per episode; s_1 is the state of the first action token, R the return. The logits contain the value, so no head is
needed. It is the t = 0 term of shiq without the shift, divided by beta^2. v(s_1) of a pretrained model is not 0,
and the first gradients go into it; reval subtracts the value of the reference.

Yuan et al. 2025, arXiv 2505.15311. We did not read its beta: 0.02 is our choice, as for shiq.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class TbrmConfig(AlgorithmConfig):
    """beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")


class Tbrm(Algorithm[TbrmConfig]):
    """Minimises the squared Bellman residual of the whole episode, in nats."""

    @property
    def temperature(self) -> float:
        """Beta: at its optimum the residual is zero and v(s_1) is the log-normaliser."""
        return self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per episode."""
        h_E, target_E = batch.logratio_E, batch.return_E / self.config.beta
        value_E = batch.lse_EA[:, 0]
        residual_E = h_E - target_E + value_E
        metrics = {
            "residual_rms": residual_E.detach().abs(),
            "value": self.config.beta * value_E.detach(),
            "return_over_beta": target_E,
        }
        return Loss(batch.weight_U * residual_E.square(), batch.weight_U, metrics)
