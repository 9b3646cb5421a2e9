r"""ipo: identity preference optimisation.

$$ L = \Big( \frac{h_w}{T_w} - \frac{h_l}{T_l} - \frac{1}{2\beta} \Big)^2, \qquad
h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \quad T \text{ action tokens} $$

over pairs of one group, where w has the higher return. The loss is 1/(4 beta^2) at the reference. The gap has a
finite target: unlike in dpo, a pair whose order is never contradicted does not push the policy without bound.

Azar et al. 2023, arXiv 2310.12036 (their tau is beta here). The paper's equation uses the sums
h_w - h_l (``length_average = false``); its authors later confirmed the average over tokens, which is the default.
"""

from __future__ import annotations

from pydantic import Field

from shiqbench.plugin import Batch, Loss
from shiqbench_algorithms.pairs import PairAlgorithm, PairConfig


class IpoConfig(PairConfig):
    """beta 0.1 is our choice: the value that the dpo paper uses."""

    beta: float = Field(default=0.1, gt=0, description="the target gap is 1/(2 beta) nats, per token if averaged")
    length_average: bool = Field(default=True, description="average log-ratios over tokens instead of summing them")


class Ipo(PairAlgorithm[IpoConfig]):
    """Minimises the squared distance of the log-ratio gap from its target."""

    @property
    def loss_at_reference(self) -> float:
        """The squared target, because the gap is 0 there."""
        return 1 / (4 * self.config.beta**2)

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per pair."""
        h_E = batch.logratio_E
        h_w, h_l = batch.pairs(h_E / batch.length_E if self.config.length_average else h_E)
        gap_U = h_w - h_l
        loss_U = (gap_U - 1 / (2 * self.config.beta)).square()
        metrics = {
            "gap": gap_U.detach(),
            "accuracy": (gap_U > 0).to(gap_U.dtype),
            "logratio_better": batch.pairs(h_E)[0].detach(),
            "logratio_worse": batch.pairs(h_E)[1].detach(),
        }
        return Loss(batch.weight_U * loss_U, batch.weight_U, metrics)
