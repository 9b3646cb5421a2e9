"""Two small algorithms that need what a language model offers: heads, and mismatched completions."""

from __future__ import annotations

from typing import Literal

from shiqbench.plugin.algorithm import Algorithm, Loss, Need
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl
from shiqbench.plugin.tensors import next_action, suffix_sum


class CriticConfig(AlgorithmConfig):
    normalize: Literal["sum", "sequence", "token"] = "token"
    q_weight: float = 2.0
    target_rate: float = 0.25
    policy: bool = True


class Critic(Algorithm[CriticConfig]):
    """Regresses V on returns and Q on one step with a target, keeps Q low elsewhere, imitates what was done."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"values", "token_q"})

    @property
    def sampling_q_weight(self) -> float:
        return self.config.q_weight

    @property
    def target_rate(self) -> float:
        return self.config.target_rate

    def loss(self, batch: Batch) -> Loss:
        value_EA, q = batch.need("value_EA") * batch.valid_EA, batch.token_q
        assert q is not None
        to_go_EA = suffix_sum(batch.reward_EA)
        td_EA = q.q_EA - batch.reward_EA - next_action(value_EA).detach()
        terms_EA = (value_EA - to_go_EA).square() + td_EA.square() + (q.q_EA - q.target_EA).square()
        terms_EA = terms_EA + q.lse_EA - q.q_EA
        if self.config.policy:
            terms_EA = terms_EA - batch.logp_EA
        per_row_E, length_E = (terms_EA * batch.valid_EA).sum(-1), batch.length_E
        numerator, denominator = {
            "sum": (per_row_E, batch.weight_U),
            "sequence": (per_row_E / length_E, batch.weight_U),
            "token": (per_row_E, batch.weight_U * length_E),
        }[self.config.normalize]
        return Loss(batch.weight_U * numerator, denominator, {"value": value_EA.detach().sum(-1)})


class ContrastConfig(AlgorithmConfig):
    """Nothing to set."""


class Contrast(Algorithm[ContrastConfig]):
    """Moves log-ratios to z plus the return, z being that of mismatched completions."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"mismatched"})

    def loss(self, batch: Batch) -> Loss:
        z_E = batch.need("mismatched_E")
        gap_E = batch.logratio_EA.sum(-1) - z_E - batch.return_E - 1
        return Loss(gap_E.square(), batch.weight_U, {"z": z_E})


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    return [
        AlgorithmSpec(
            name=kind.lower(),
            version="1",
            summary="for tests",
            target=f"{__name__}:{kind}",
            config=f"{__name__}:{kind}Config",
        )
        for kind in ("Critic", "Contrast")
    ]
