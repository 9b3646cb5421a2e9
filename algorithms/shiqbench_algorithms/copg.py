r"""copg: contrastive policy gradient.

$$ L = \frac{1}{k-1} \sum_{i>j} (S_i - S_j)^2, \qquad S = R - \beta h, \quad
h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)} $$

over k episodes of one group, where R is the return. A constant added to all rewards of a group changes nothing.
Its gradient is exactly 2 beta times that of leave-one-out policy gradient (see reinforce), summed over the k
episodes, with the KL in the reward [derived]. It needs no importance ratio off policy.

Flet-Berliac et al. 2024, arXiv 2406.19185, for pairs; k > 2 follows the Command A report. We did not read the
paper's beta: 0.02 is our choice. It is the common default of the methods here whose optimum is that of the reward,
so that they optimise the same objective.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class CopgConfig(AlgorithmConfig):
    """beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")
    k: int = Field(default=2, ge=2, description="number of episodes of a group that are compared")


class Copg(Algorithm[CopgConfig]):
    """Minimises squared differences of KL-regularised returns."""

    unit = "group"

    @property
    def group_size(self) -> int:
        """Number of episodes per unit."""
        return self.config.k

    @property
    def temperature(self) -> float:
        """Beta: all S of a prompt are equal exactly at its optimum."""
        return self.config.beta

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per group."""
        k, h_E = self.config.k, batch.logratio_E
        score_UK = batch.groups(batch.return_E - self.config.beta * h_E, k)
        # sum_{i>j} (S_i - S_j)^2 = k sum_i (S_i - mean)^2: linear cost in k, and no numerical cancellation.
        centred_UK = score_UK - score_UK.mean(-1, keepdim=True)
        loss_U = k / (k - 1) * centred_UK.square().sum(-1)
        metrics = {
            "residual_rms": centred_UK.detach().square().mean(-1).sqrt(),
            "return_over_beta": batch.groups(batch.return_E, k).mean(-1) / self.config.beta,
        }
        return Loss(batch.weight_U * loss_U, batch.weight_U, metrics)
