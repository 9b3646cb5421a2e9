r"""reval: trajectory Bellman residual, calibrated at the reference.

$$ L = \big( h - R/\beta + v(s_1) - v_{ref}(s_1) \big)^2, \qquad
h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \quad v(s) = \ln \sum_a e^{l(s,a)} $$

per episode; s_1 is the state of the first action token, R the return. It is exactly the squared t = 0 residual of
shiq, divided by beta^2; tbrm is the same without v_ref. At the reference the residual is -R/beta.

ReVal (Wang et al. 2026, arXiv 2603.23355), only its trajectory term: the paper adds signals per step and a
replay buffer, which are not implemented. beta 0.02 is our choice, as for shiq; "longer responses require a smaller
beta" (ReVal), down to 0.002 for thousands of tokens.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class RevalConfig(AlgorithmConfig):
    """beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")


class Reval(Algorithm[RevalConfig]):
    """Minimises the squared Bellman residual of the whole episode, in nats; the value starts at 0."""

    @property
    def temperature(self) -> float:
        """Beta: at its optimum the residual is zero and (v - v_ref)(s_1) is the log-normaliser."""
        return self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per episode."""
        h_E, target_E = batch.logratio_E, batch.return_E / self.config.beta
        value_E = batch.lse_EA[:, 0] - batch.ref_lse_EA[:, 0]
        residual_E = h_E - target_E + value_E
        metrics = {
            "residual_rms": residual_E.detach().abs(),
            "value": self.config.beta * value_E.detach(),
            "return_over_beta": target_E,
        }
        return Loss(batch.weight_U * residual_E.square(), batch.weight_U, metrics)
