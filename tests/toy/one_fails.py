"""An algorithm that fails in one process of those that train together, after the first update."""

from __future__ import annotations

from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl
from shiqbench.running.team import place


class OneFailsConfig(AlgorithmConfig):
    rank: int = 0


class OneFails(Algorithm[OneFailsConfig]):
    """Imitates, until the process of this rank breaks."""

    updates = 0

    def loss(self, batch: Batch) -> Loss:
        self.updates += 1
        if self.updates > 1 and place().rank == self.config.rank:
            raise ValueError("broken on purpose")
        return Loss(-(batch.logp_EA * batch.valid_EA).sum(-1), batch.length_E, {})


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    target = f"{__name__}:OneFails"
    return [AlgorithmSpec(name="one_fails", version="1", summary="for tests", target=target, config=f"{target}Config")]
