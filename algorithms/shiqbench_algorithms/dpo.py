r"""dpo: direct preference optimisation.

$$ L = - (1 - \epsilon) \ln \sigma(\beta (h_w - h_l)) - \epsilon \ln \sigma(-\beta (h_w - h_l)),
\qquad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)} $$

over pairs of one group, where w has the higher return. The loss is ln 2 at the reference.
Rafailov et al. 2023, arXiv 2305.18290; label smoothing is the conservative form that its authors note.
"""

from __future__ import annotations

import math

from pydantic import Field

from shiqbench.plugin import Batch, Loss, log_sigmoid
from shiqbench_algorithms.pairs import PairAlgorithm, PairConfig


class DpoConfig(PairConfig):
    """beta 0.1 is the value in the paper's experiments."""

    beta: float = Field(default=0.1, gt=0, description="how strongly the policy is kept near the reference")
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)


class Dpo(PairAlgorithm[DpoConfig]):
    """Logistic loss on the difference of sequence log-ratios."""

    @property
    def loss_at_reference(self) -> float:
        """Ln 2: both terms have this value at margin 0, and smoothing only weights them."""
        return math.log(2)

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per pair."""
        h_w, h_l = batch.pairs(batch.logratio_E)
        margin_U = self.config.beta * (h_w - h_l)
        smooth = self.config.label_smoothing
        loss_U = -(1 - smooth) * log_sigmoid(margin_U) - smooth * log_sigmoid(-margin_U)
        metrics = {
            "margin": margin_U.detach(),
            "accuracy": (margin_U > 0).to(margin_U.dtype),
            "logratio_better": h_w.detach(),
            "logratio_worse": h_l.detach(),
        }
        return Loss(batch.weight_U * loss_U, batch.weight_U, metrics)
