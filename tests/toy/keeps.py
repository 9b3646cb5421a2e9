"""An algorithm that keeps every value of one of its settings that its loss is called with."""

from __future__ import annotations

from typing import Any, ClassVar

from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl


class KeepsConfig(AlgorithmConfig):
    value: Any = None


class Keeps(Algorithm[KeepsConfig]):
    uses_reference = False
    kept: ClassVar[list[Any]] = []

    def loss(self, batch: Batch) -> Loss:
        self.kept.append(self.config.value)
        return Loss(batch.weight_U * -batch.logp_EA.sum(-1) * batch.return_E, batch.weight_U)


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    return [
        AlgorithmSpec(
            name="keeps", version="1", summary="keeps a setting", target=f"{__name__}:Keeps",
            config=f"{__name__}:KeepsConfig",
        )
    ]  # fmt: skip
