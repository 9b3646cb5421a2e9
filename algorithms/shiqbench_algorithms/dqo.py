r"""dqo: direct Q-function optimisation.

With $\rho = \ln\pi - \ln\pi_{ref}$ at action tokens and $R_t = \sum_{k \ge t} r_k$,

$$ L = \mathrm{mean}_t \big( V(s_t) - R_t + \beta \textstyle\sum_{k \ge t} \rho_k \big)^2, $$

averaged over episodes; the gradient flows through V and through every log-ratio. It is oreo without stopped
gradients and without the KL term: the residual and the gradient of V are the same. It is also the multi-step
residual of shiq, with a value head instead of the value from the logits.

Liu et al. 2024, arXiv 2410.09302. The form is from appendix C of the oreo paper, which states that dqo equals oreo
without stopped gradients. The paper's lambda-returns and importance weights are not implemented, and there is no
gamma (undiscounted). We did not read its beta: 0.02 is our choice, as for shiq.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need, suffix_sum


class DqoConfig(AlgorithmConfig):
    """beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")


class Dqo(Algorithm[DqoConfig]):
    """Minimises the squared soft Bellman residual of the rest of the episode; V comes from a head."""

    @property
    def needs(self) -> frozenset[Need]:
        """A value head."""
        return frozenset({"values"})

    @property
    def temperature(self) -> float:
        """Beta: at its optimum all residuals are zero."""
        return self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """Compute, for every episode, the mean over its action tokens."""
        beta, rho_EA = self.config.beta, batch.logratio_EA
        value_EA = batch.need("value_EA") * batch.valid_EA
        to_go_EA = suffix_sum(batch.reward_EA * batch.valid_EA - beta * rho_EA)
        squared_E = (value_EA - to_go_EA).square().sum(-1)  # 0 where masked
        length_E = batch.length_E
        metrics = {
            "residual_rms": (squared_E.detach() / length_E).sqrt(),
            "value": value_EA.detach().sum(-1) / length_E,
            "return_over_beta": batch.return_E / beta,
        }
        return Loss(batch.weight_U * squared_E / length_E, batch.weight_U, metrics)
