"""A state is continued only by the kind of training that wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import Lines, needy, trainer

from shiqbench.base.errors import ConfigError
from shiqbench.store.resumable import load_state, save_state
from shiqbench.training.states import ShardedState


def test_sharded_weights_do_not_continue_a_whole_state(tiny_model: Path, tmp_path: Path) -> None:
    made = trainer(tiny_model, tmp_path, needy("critic"))
    with pytest.raises(KeyboardInterrupt):
        made.run(Lines(stop_after=3))
    state = ShardedState(tmp_path, made.accelerator.unwrap_model(made.policy), made.optimizer, made.accelerator)
    with pytest.raises(ConfigError, match=r"interrupted with whole weights.*launch without FSDP") as error:
        state.resume()
    assert str(error.value).count("\n") == 0
    assert trainer(tiny_model, tmp_path, needy("critic")).done == 2


def test_whole_weights_do_not_continue_a_sharded_state(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("")
    save_state(tmp_path, {"done": 2, "shards": "shards-000002", "sha256": {}})
    with pytest.raises(ConfigError, match=r"interrupted with sharded weights.*launch with FSDP") as error:
        trainer(tiny_model, tmp_path, needy("critic"))
    assert str(error.value).count("\n") == 0
    state = load_state(tmp_path)
    assert state is not None
    assert state["shards"] == "shards-000002"
