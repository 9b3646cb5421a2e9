r"""awr: advantage-weighted regression.

$$ L = - \frac{1}{N} \sum_i w_i \sum_t m_t \ln \pi(a_t | s_t), \qquad
w_i = \min\big(e^{(R_i - \bar R)/\beta},\, w_{max}\big) $$

over k episodes of one group, $\bar R$ their mean return and N the number of action tokens. The regression is on
the data alone: the reference does not enter, and good episodes are imitated more than bad ones.
As beta grows it becomes supervised fine-tuning on everything; as beta falls, on the best of each group.

Peng et al. 2019, arXiv 1910.00177, weights clipped as there. The paper's baseline is a fitted V(s); the mean of the
group in its place, and the defaults, for returns between 0 and 1, are choices of this example.
"""

from __future__ import annotations

import math

from pydantic import Field
from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class AwrConfig(AlgorithmConfig):
    """beta in units of return."""

    beta: float = Field(default=0.5, gt=0, description="an episode that is beta better weighs e times more")
    max_weight: float = Field(default=20.0, ge=1, description="largest weight of an episode")
    group: int = Field(default=2, ge=2, description="episodes whose mean return is the baseline")


class Awr(Algorithm[AwrConfig]):
    """Likelihood, weighted by the exponential of the advantage."""

    unit = "group"
    uses_reference = False

    @property
    def group_size(self) -> int:
        """Episodes per unit."""
        return self.config.group

    def loss(self, batch: Batch) -> Loss:
        """Weighted negative log-likelihood of each group; the denominator counts its action tokens."""
        return_UK = batch.groups(batch.return_E, self.config.group)
        advantage_UK = return_UK - return_UK.mean(-1, keepdim=True)
        weight_UK = (advantage_UK / self.config.beta).clamp(max=math.log(self.config.max_weight)).exp()
        nll_UK = batch.groups(-batch.logp_EA.sum(-1), self.config.group)
        length_U = batch.per_unit(batch.length_E)
        metrics = {
            "weight_largest": weight_UK.amax(-1),
            "nll_per_token": nll_UK.detach().sum(-1) / length_U,
        }
        return Loss(batch.weight_U * (weight_UK * nll_UK).sum(-1), batch.weight_U * length_U, metrics)
