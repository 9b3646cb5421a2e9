r"""sft: supervised fine-tuning on accepted episodes.

$$ L = - \frac{1}{N} \sum_{e \in \text{accepted}} \sum_t m_t \ln \pi(a_t | s_t) $$

where N is the number of action tokens (``normalize = token``); with ``sequence`` each episode is first averaged over
its own tokens. The best episodes of each group are accepted, or those whose return exceeds ``threshold``. The method
is standard; the token average is the usual default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from shiqbench.plugin import Algorithm, Batch, Episode, Loss, accepted
from shiqbench_algorithms.acceptance import AcceptanceConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


class SftConfig(AcceptanceConfig):
    """Settings: which episodes are imitated, and how tokens are weighted."""

    normalize: Literal["token", "sequence"] = "token"


class Sft(Algorithm[SftConfig]):
    """Maximises the likelihood of the action tokens of accepted episodes."""

    uses_reference = False

    def select(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Return only the accepted episodes."""
        return accepted(episodes, self.config.accept, self.config.threshold)

    def loss(self, batch: Batch) -> Loss:
        """Compute the negative log-likelihood per episode."""
        nll_E = -batch.logp_EA.sum(-1)
        length_E = batch.length_E
        metrics = {"nll_per_token": nll_E.detach() / length_E, "nll": nll_E.detach()}
        if self.config.normalize == "token":
            return Loss(batch.weight_U * nll_E, batch.weight_U * length_E, metrics)
        return Loss(batch.weight_U * nll_E / length_E, batch.weight_U, metrics)
