r"""oreo: offline reasoning optimisation, soft Bellman consistency at every token, with a value head.

With $\rho = \ln\pi - \ln\pi_{ref}$ at action tokens, $R_t = \sum_{k \ge t} r_k$ and sg, which stops the gradient,

$$ L_V = \mathrm{mean}_t \big( V(s_t) - R_t + \beta\,\mathrm{sg} \textstyle\sum_{k \ge t} \rho_k \big)^2, $$
$$ L_\pi = \mathrm{mean}_t \big( \mathrm{sg}V(s_t) - R_t + \beta \rho_t + \beta\,\mathrm{sg}
\textstyle\sum_{k > t} \rho_k \big)^2 + \alpha\, \mathrm{mean}_t\, \mathrm{KL}(\pi \| \pi_{ref})(s_t), $$

L = L_V + L_pi, averaged over episodes. L_V moves only the value head. L_pi moves only the policy, and each token's
log-ratio only through that token's residual.

Wang et al. 2024, arXiv 2412.16145, eq. 7-10. Undiscounted as in the paper, so there is no gamma. We did not read
the paper's beta and alpha: 0.02 is our choice, as for shiq, and alpha is 0 because any other value moves the
optimum (0.1 left 2.3 % regret on an exact problem [derived]).
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need, suffix_sum


class OreoConfig(AlgorithmConfig):
    """beta is in units of reward per nat; alpha is in squared units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")
    alpha: float = Field(default=0.0, ge=0, description="weight of the exact KL to the reference")


class Oreo(Algorithm[OreoConfig]):
    """Minimises two losses of one residual: one for the value, one for the policy."""

    @property
    def needs(self) -> frozenset[Need]:
        """A value head, and the exact KL if its weight is positive."""
        return frozenset({"values", "kl"} if self.config.alpha > 0 else {"values"})

    @property
    def temperature(self) -> float | None:
        """Beta: at its optimum all residuals are zero. None with the KL term, which moves the optimum."""
        return None if self.config.alpha > 0 else self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """Compute, for every episode, means over its action tokens."""
        beta, rho_EA = self.config.beta, batch.logratio_EA
        value_EA = batch.need("value_EA") * batch.valid_EA
        to_go_EA = suffix_sum(batch.reward_EA * batch.valid_EA)
        future_EA = suffix_sum(rho_EA).detach()
        own_EA = rho_EA - rho_EA.detach()  # value 0, gradient of the token's own log-ratio
        for_value_EA = value_EA - to_go_EA + beta * future_EA  # 0 where masked
        for_policy_EA = for_value_EA.detach() + beta * own_EA
        squared_E = (for_value_EA.square() + for_policy_EA.square()).sum(-1)
        if self.config.alpha > 0:
            squared_E = squared_E + self.config.alpha * (batch.need("kl_EA") * batch.valid_EA).sum(-1)
        length_E = batch.length_E
        metrics = {
            "residual_rms": (for_value_EA.detach().square().sum(-1) / length_E).sqrt(),
            "value": value_EA.detach().sum(-1) / length_E,
            "return_over_beta": batch.return_E / beta,
        }
        return Loss(batch.weight_U * squared_E / length_E, batch.weight_U, metrics)
