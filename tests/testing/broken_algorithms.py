"""Algorithms that each break one line of the contract, and one that breaks none. Loaded as a plugin file."""

from __future__ import annotations

import math
import random
from typing import Any

from pydantic import ConfigDict

from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl


class Config(AlgorithmConfig):
    beta: float = 0.5


class Sound(Algorithm[Config]):
    """Squared ``R - beta h``: breaks nothing and claims nothing."""

    def residual(self, batch: Any) -> Any:
        return batch.return_E - self.config.beta * batch.logratio_EA.sum(-1)

    def loss(self, batch: Any) -> Loss:
        residual = self.residual(batch)
        return Loss(batch.weight_U * residual.square(), batch.weight_U, {"residual": residual.detach()})


class Group(Sound):
    """A group of two, and a need."""

    unit = "group"
    group_size = 2
    needs = frozenset({"best"})

    def loss(self, batch: Any) -> Loss:
        gap = self.residual(batch) * (1 + batch.need("best_E").to(batch.logit_EA.dtype))
        return Loss(batch.weight_U * batch.per_unit(gap).square(), batch.weight_U)


class UnknownUnit(Sound):
    unit = "row"  # type: ignore[assignment]


class UnknownNeed(Sound):
    needs = frozenset({"luck"})  # type: ignore[arg-type]


class NegativeTemperature(Sound):
    temperature = -1.0


class QWithoutNeed(Sound):
    sampling_q_weight = 1.0


class ReadsUndeclared(Sound):
    def residual(self, batch: Any) -> Any:
        return super().residual(batch) - batch.need("value_EA")[:, 0]


class PerRow(Sound):
    unit = "pair"

    def loss(self, batch: Any) -> Loss:
        return Loss(self.residual(batch).square(), batch.weight_U)


class NotFinite(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss(batch.weight_U * self.residual(batch).log(), batch.weight_U)


class DoublePrecision(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss((batch.weight_U * self.residual(batch).square()).double(), batch.weight_U)


class SinglePrecision(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss(batch.weight_U * self.residual(batch).square(), batch.weight_U.float())


class OtherDevice(Sound):
    def loss(self, batch: Any) -> Loss:
        import torch

        ones = torch.ones(len(batch.weight_U), dtype=batch.weight_U.dtype)
        return Loss(batch.weight_U * self.residual(batch).square(), batch.weight_U * ones)


class DenominatorWithGradient(Sound):
    def loss(self, batch: Any) -> Loss:
        residual = self.residual(batch)
        return Loss(batch.weight_U * residual.square(), batch.weight_U * (1 + residual.square()))


class NegativeDenominator(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss(batch.weight_U * self.residual(batch).square(), -batch.weight_U)


class MetricWithGradient(Sound):
    def loss(self, batch: Any) -> Loss:
        residual = self.residual(batch)
        return Loss(batch.weight_U * residual.square(), batch.weight_U, {"residual": residual})


class MetricOfTheTrainer(Sound):
    def loss(self, batch: Any) -> Loss:
        loss = super().loss(batch)
        return Loss(loss.numerator_U, loss.denominator_U, {"lr": loss.metrics["residual"]})


class MetricSometimes(Sound):
    def loss(self, batch: Any) -> Loss:
        loss = super().loss(batch)
        return loss if len(batch.weight_U) > 2 else Loss(loss.numerator_U, loss.denominator_U)


class Leaks(Sound):
    """The gradient reaches what is no action token; the value of the loss is right."""

    def residual(self, batch: Any) -> Any:
        everything = (batch.logit_EA - batch.logit_EA.detach()).sum(-1)
        return super().residual(batch) + everything


class FirstTokenOnly(Sound):
    def residual(self, batch: Any) -> Any:
        return batch.return_E - self.config.beta * batch.logratio_EA[:, 0]


class Detached(Sound):
    def residual(self, batch: Any) -> Any:
        return super().residual(batch).detach()


class IdleNeed(Sound):
    needs = frozenset({"values"})


class IdleReference(Sound):
    def residual(self, batch: Any) -> Any:
        return batch.return_E - batch.logp_EA.sum(-1)


class SecretReference(Sound):
    uses_reference = False

    def loss(self, batch: Any) -> Loss:
        return Loss(batch.weight_U * self.residual(batch).square(), batch.weight_U)


class PaddingDependent(Sound):
    """Averages over columns instead of action tokens."""

    def residual(self, batch: Any) -> Any:
        return batch.return_E - batch.logratio_EA.mean(-1)


class OrderDependent(Sound):
    """The first row weighs more."""

    def residual(self, batch: Any) -> Any:
        return super().residual(batch) * (1 + (batch.unit_E == 0))


class GroupOrderDependent(Sound):
    unit = "group"
    group_size = 2

    def loss(self, batch: Any) -> Loss:
        first, second = batch.pairs(self.residual(batch))
        return Loss(batch.weight_U * (first.square() + 2 * second.square()), batch.weight_U)


class BatchBaseline(Sound):
    """Subtracts the mean of the batch: another number for every split of it."""

    def residual(self, batch: Any) -> Any:
        residual = super().residual(batch)
        return residual - residual.mean()


class Unweighted(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss(self.residual(batch).square(), batch.weight_U)


class Overflowing(Sound):
    def loss(self, batch: Any) -> Loss:
        return Loss(batch.weight_U * batch.logratio_EA.sum(-1).exp(), batch.weight_U)


class OverflowingGradient(Sound):
    """The value is finite; the branch that is not taken has an infinite gradient."""

    def loss(self, batch: Any) -> Loss:
        import torch

        h = batch.logratio_EA.sum(-1)
        return Loss(batch.weight_U * torch.where(h < 9, h.exp(), h), batch.weight_U)


class Noisy(Sound):
    def residual(self, batch: Any) -> Any:
        return super().residual(batch) + random.SystemRandom().random()


class Dropout(Sound):
    """The same numbers every time, at the price of the trainer's random state."""

    def residual(self, batch: Any) -> Any:
        import torch

        torch.manual_seed(0)
        return super().residual(batch) + torch.rand(())


class Counting(Sound):
    calls = 0

    def residual(self, batch: Any) -> Any:
        self.calls += 1
        return super().residual(batch) + self.calls


class InPlace(Sound):
    def residual(self, batch: Any) -> Any:
        residual = super().residual(batch)
        batch.reward_EA.mul_(2)
        return residual


class WrongStart(Sound):
    loss_at_reference = math.log(2)


class SelectsNothing(Sound):
    def select(self, episodes: Any) -> Any:
        return []


class SelectsAtRandom(Sound):
    def select(self, episodes: Any) -> Any:
        return random.sample(list(episodes), 5)


class Forgetful(Sound):
    """Learns less with every update of this instance, so a resumed training is another one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.updates = 0

    def loss(self, batch: Any) -> Loss:
        loss = super().loss(batch)
        if batch.logit_EA.grad_fn is not None:  # only above a model, where checks of the loss alone cannot see it
            self.updates += 1
        return Loss(loss.numerator_U / (1 + self.updates), loss.denominator_U, loss.metrics)


class ClaimsTooMuch(Sound):
    """Its residual has no value term: R = beta h on every trajectory has no solution."""

    @property
    def temperature(self) -> float:
        return self.config.beta


class NotAConfig:
    """Nothing that a configuration must be."""


class Thawed(Config):
    model_config = ConfigDict(frozen=False)


class Lax(Config):
    model_config = ConfigDict(extra="ignore")


class Lossy(Config):
    scale: float = 0.1

    def model_dump(self, **options: Any) -> dict[str, Any]:
        return {**super().model_dump(**options), "scale": round(self.scale)}


class NotAnAlgorithm:
    def __init__(self, config: Any) -> None:
        self.config = config


ALGORITHMS = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Sound)]
CONFIGS = {"no_config": NotAConfig, "thawed": Thawed, "lax": Lax, "lossy": Lossy}


def spec(name: str, target: str, config: str = "Config") -> AlgorithmSpec:
    return AlgorithmSpec(
        name=name, version="1", summary="for a test", target=f"{__name__}:{target}", config=f"{__name__}:{config}"
    )


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    return [
        *(spec(kind.__name__, kind.__name__) for kind in ALGORITHMS),
        *(spec(name, "Sound", kind.__name__) for name, kind in CONFIGS.items()),
        spec("not_an_algorithm", "NotAnAlgorithm"),
        spec("nowhere", "Nowhere"),
    ]
