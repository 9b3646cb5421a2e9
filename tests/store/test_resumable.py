"""The state of an interrupted training, and the log beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shiqbench.base.errors import CorruptCellError
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
    with pytest.raises(CorruptCellError, match="has changed since"):
        load_state(tmp_path)
    torch.save({"done": 1}, tmp_path / STATE)
    with pytest.raises(CorruptCellError, match="written by an earlier version"):
        load_state(tmp_path)
