"""What training draws at random goes on after an interruption as if there had been none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import Lines, trainer

from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig


class Drawing(Algorithm[AlgorithmConfig]):
    """Weighs likelihood by a random number, as dropout draws while training."""

    uses_reference = False

    def loss(self, batch: Batch) -> Loss:
        weight_U = torch.rand(len(batch.weight_U))
        return Loss(-weight_U * batch.logp_EA.sum(-1), weight_U, {"drawn": weight_U})


def test_what_training_draws_continues_where_it_was(tiny_model: Path, tmp_path: Path) -> None:
    algorithm = Drawing(AlgorithmConfig())
    undisturbed, first, resumed = Lines(), Lines(stop_after=3), Lines()
    trainer(tiny_model, tmp_path / "a", algorithm, updates=4).run(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        trainer(tiny_model, tmp_path / "b", algorithm, updates=4).run(first)
    trainer(tiny_model, tmp_path / "b", algorithm, updates=4).run(resumed)
    drawn = [line["drawn"] for line in undisturbed.lines]
    assert len(set(drawn)) == 4
    assert [line["drawn"] for line in resumed.lines] == drawn[2:]  # from the checkpoint after two updates
