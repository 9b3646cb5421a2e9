r"""qrpo: quantile reward policy optimisation.

$$ L = (U - \beta \ln Z - \beta h)^2, \qquad h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, $$
$$ U = \frac1n \sum_j \big( [R_j < R] + c\,[R_j = R] \big), \qquad
\beta \ln Z = \beta \Big( \ln \sum_j e^{U_j/\beta} - \ln n \Big) $$

per episode. R_1..R_n are the returns of completions of its prompt that the reference sampled. U is the share of
them below R; a tie counts c = 1/2 (``ties = mid``) or, as in the paper, c = 1 (``inclusive``). U_j is the same
share for completion j among the n - 1 others. U counts all n completions: this code does not know whether the
episode is one of them. If it is, its tie with itself is counted too (c/n too much).

The paper's closed form Z = beta (e^{1/beta} - 1) is the limit of many completions without ties. With binary rewards
at beta 0.5 (16 completions, half of them right, inclusive), beta ln Z is 0.801, but the closed form gives 0.581.
The closed form also overflows fp32 for small beta; the form above does not.

Matrenok et al. 2025, arXiv 2507.08068. Its optimum is that of the reward U, not of R. Mid-ranks and the
leave-one-out estimate of Z are ours [derived]; beta 0.003 is from the example configuration in its authors' code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need, RunError

if TYPE_CHECKING:
    from torch import Tensor


# Returns that differ by less are ties: sums of the same rewards differ by rounding.
TIE = 1e-5


class QrpoConfig(AlgorithmConfig):
    """beta is per nat; U is between 0 and 1."""

    beta: float = Field(default=0.003, gt=0, description="an episode moves by at most about 1/beta nats")
    ties: Literal["mid", "inclusive"] = Field(
        default="mid", description="mid counts an equal return as half below, inclusive as below"
    )


class Qrpo(Algorithm[QrpoConfig]):
    """Regresses log-ratios on ranks, with the exact partition function of the ranks."""

    @property
    def needs(self) -> frozenset[Need]:
        """Scored completions of the reference; at least two per prompt."""
        return frozenset({"reference_returns"})

    def ranks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute ``U`` and ``beta ln Z`` of every row, both ``[E]``.

        Raises:
            RunError: A prompt has fewer than two completions.
        """
        import torch

        returns_EK = batch.need("reference_return_EK")
        returns_EK = returns_EK.to(batch.return_E.dtype)
        known_EK = ~returns_EK.isnan()
        n_E = known_EK.sum(-1).to(returns_EK.dtype)
        if bool((n_E < 2).any()):
            raise RunError(
                "qrpo needs two scored completions of the reference for every prompt, but one prompt has fewer",
                where="training data",
                do="sample more of them, or use another algorithm",
            )
        beta, tie = self.config.beta, {"mid": 0.5, "inclusive": 1.0}[self.config.ties]

        sorted_EK = returns_EK.nan_to_num(nan=math.inf).sort(-1).values

        def below(x_EX: Tensor) -> Tensor:
            """Count each row's completions below each ``x``; a tie counts ``tie``."""
            low_EX = torch.searchsorted(sorted_EK, x_EX - TIE)
            high_EX = torch.searchsorted(sorted_EK, x_EX + TIE, right=True)
            return low_EX + tie * (high_EX - low_EX).to(x_EX.dtype)

        u_E = below(batch.return_E[:, None].contiguous())[:, 0] / n_E
        others_EK = below(sorted_EK) - tie  # without its tie with itself
        u_EK = (others_EK / (n_E[:, None] - 1)).masked_fill(sorted_EK.isinf(), -math.inf)
        log_z_E = beta * ((u_EK / beta).logsumexp(-1) - n_E.log())
        return u_E, log_z_E

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per episode."""
        h_E = batch.logratio_E
        u_E, log_z_E = self.ranks(batch)
        residual_E = u_E - log_z_E - self.config.beta * h_E
        metrics = {
            "residual_rms": residual_E.detach().abs(),
            "rank": u_E,
            "beta_log_z": log_z_E,
        }
        return Loss(batch.weight_U * residual_E.square(), batch.weight_U, metrics)
