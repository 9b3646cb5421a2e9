r"""dro: direct reward optimisation with a value head (DRO-V).

$$ L = \frac{1}{2\tau} (R - \mathrm{sg}\,V(x) - \tau h)^2 + \frac12 (R - V(x) - \tau\,\mathrm{sg}\,h)^2, \qquad
h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)} $$

per episode; sg stops the gradient, V(x) is the value head at the first action token. The first term moves only
the policy; its gradient is that of $\frac12 (R - V - \tau h)^2$ divided by tau. The second term moves only V, with
the learning rate of the heads (``train.head_lr``).

Richemond et al. 2024, arXiv 2405.19107, eq. 4, 7, 8. tau 1 is the paper's value; the paper trains on rewards
of mean 0 and variance 1. We put its two updates into one loss.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need


class DroConfig(AlgorithmConfig):
    """tau is called beta in the other algorithms; it is in units of reward per nat."""

    tau: float = Field(default=1.0, gt=0, description="an episode moves by about return/tau nats")


class Dro(Algorithm[DroConfig]):
    """Minimises the squared residual of the optimality equation of whole episodes; V is learned with the policy."""

    @property
    def needs(self) -> frozenset[Need]:
        """A value head."""
        return frozenset({"values"})

    @property
    def temperature(self) -> float:
        """Tau: at its optimum R = V + tau h for every episode."""
        return self.config.tau

    def loss(self, batch: Batch) -> Loss:
        """Compute both terms for every episode."""
        tau, h_E, r_E = self.config.tau, batch.logratio_E, batch.return_E
        value_E = batch.need("value_EA")[:, 0]
        policy_E = (r_E - value_E.detach() - tau * h_E).square() / (2 * tau)
        value_loss_E = (r_E - value_E - tau * h_E.detach()).square() / 2
        metrics = {
            "residual_rms": (2 * value_loss_E.detach()).sqrt(),
            "value": value_E.detach(),
            "return_over_beta": r_E / tau,
        }
        return Loss(batch.weight_U * (policy_E + value_loss_E), batch.weight_U, metrics)
