r"""kto: Kahneman-Tversky optimisation on good and bad episodes, without pairs.

$$ L = \begin{cases} w_d\,(1 - \sigma(\beta (h - z))) & \text{good} \\
w_u\,(1 - \sigma(\beta (z - h))) & \text{bad} \end{cases}, \qquad
h = \sum_t \ln \frac{\pi(a_t|s_t)}{\pi_{ref}(a_t|s_t)}, \quad z = \max(0, \bar h_{mismatched}) $$

z estimates KL(pi || pi_ref), without gradient: it is the mean log-ratio of the update's completions on each other's
prompts. The loss is w/2 at the reference.

An episode is good by the rule that sft uses: its return exceeds ``threshold`` (so centre the rewards, or set the
threshold), or no episode of its group has a higher return (``accept = best``).

Ethayarajh et al. 2024, arXiv 2402.01306. beta 0.1 and both weights 1 are the defaults of its authors' code;
if good and bad episodes are unbalanced, they advise weights that balance them. The acceptance rule is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shiqbench.plugin import Algorithm, Batch, ConfigError, Episode, Loss, Need, accepted
from shiqbench_algorithms.acceptance import AcceptanceConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class KtoConfig(AcceptanceConfig):
    """beta is per nat; ``threshold`` is in units of return."""

    accept: Literal["best", "threshold"] = "threshold"
    beta: float = Field(default=0.1, gt=0, description="how strongly the policy is kept near the reference")
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)


class Kto(Algorithm[KtoConfig]):
    """Maximises the prospect-theoretic value of each episode separately."""

    @property
    def needs(self) -> frozenset[Need]:
        """The reference point and, with ``accept = best``, which episodes are the best of their groups."""
        return frozenset({"mismatched", "best"} if self.config.accept == "best" else {"mismatched"})

    @property
    def loss_at_reference(self) -> float | None:
        """Half the weight, if good and bad episodes have the same weight."""
        good, bad = self.config.desirable_weight, self.config.undesirable_weight
        return good / 2 if good == bad else None

    def select(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Return all episodes.

        Raises:
            ConfigError: All episodes are good or all are bad, so there is no contrast to learn from.
        """
        good = len(accepted(episodes, self.config.accept, self.config.threshold))
        if good in (0, len(episodes)):
            raise ConfigError(
                f"kto needs good and bad episodes; {good} of {len(episodes)} are good",
                where="training data",
                do="centre the rewards, move algo.threshold, or set algo.accept=best",
            )
        return list(episodes)

    def good(self, batch: Batch) -> Tensor:
        """Return a mask ``[E]`` of the good rows."""
        return batch.need("best_E") if self.config.accept == "best" else batch.return_E > self.config.threshold

    def loss(self, batch: Batch) -> Loss:
        """Compute one value per episode, between 0 and its weight."""
        c = self.config
        h_E, good_E = batch.logratio_E, self.good(batch)
        z_E = batch.need("mismatched_E").detach().clamp(min=0)
        margin_E = c.beta * (h_E - z_E)
        good_loss_E = c.desirable_weight * (-margin_E).sigmoid()  # 1 - sigmoid(x) = sigmoid(-x), numerically stable
        bad_loss_E = c.undesirable_weight * margin_E.sigmoid()
        loss_E = good_loss_E.where(good_E, bad_loss_E)
        metrics = {
            "good": good_E.to(h_E.dtype),
            "reference_point": z_E,
        }
        return Loss(batch.weight_U * loss_E, batch.weight_U, metrics)
