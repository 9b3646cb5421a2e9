"""The state of an interrupted training, and the log beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import Lines, trainer

from shiqbench.base.errors import CorruptCellError
from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.store.resumable import LOG, STATE, load_state, save_state


def test_the_log_is_cut_to_what_it_was_and_by_one_process_alone(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    (tmp_path / LOG).write_text("one\n")
    save_state(tmp_path, {"done": 1})
    (tmp_path / LOG).write_text("one\ntwo\n")
    assert load_state(tmp_path, cut_log=False) == {"done": 1}
    assert (tmp_path / LOG).read_text() == "one\ntwo\n"
    assert load_state(tmp_path) == {"done": 1}
    assert (tmp_path / LOG).read_text() == "one\n"


def test_another_log_or_an_older_state_is_an_error(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("one\n")
    save_state(tmp_path, {"done": 1})
    (tmp_path / LOG).write_text("0ne\n")
    with pytest.raises(CorruptCellError, match="is not what it was"):
        load_state(tmp_path)
    torch.save({"done": 1}, tmp_path / STATE)
    with pytest.raises(CorruptCellError, match="written by an earlier version"):
        load_state(tmp_path)


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
