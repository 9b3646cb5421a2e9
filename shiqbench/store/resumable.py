"""The state from which an interrupted training continues: one state file and the log at that time, both checked."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import is_whole_zip, replacing
from shiqbench.store.cell import CHECKPOINT, corrupt

if TYPE_CHECKING:
    from pathlib import Path

STATE = f"{CHECKPOINT}/state.pt"
LOG = "train.jsonl"
_OF_LOG = ("log_bytes", "log_sha256")


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state that the next update needs, and length and sha256 of the log, to one file by an atomic rename.

    Args:
        folder: Cell folder.
        state: State for :func:`torch.save`; the log's line of the last update must be written and flushed before.
    """
    import torch

    with (folder / LOG).open("rb") as stream:
        log = stream.read()
        os.fsync(stream.fileno())
    of_log = dict(zip(_OF_LOG, (len(log), hashlib.sha256(log).hexdigest()), strict=True))
    # A Python stream reports the error of the disk; the library's own writer does not.
    with replacing(folder / STATE) as temporary, temporary.open("wb") as stream:
        torch.save({**state, **of_log}, stream)


def load_state(folder: Path, *, cut_log: bool = True) -> dict[str, Any] | None:
    """Return the newest state and cut the log to its length then; without a state, return None and empty the log.

    Args:
        folder: Cell folder.
        cut_log: Whether to cut the log; if several processes train together, only one of them does.

    Raises:
        CorruptCellError: State or log have changed since they were written.
    """
    import torch

    path, log = folder / STATE, folder / LOG
    content = log.read_bytes() if log.exists() else b""
    state: dict[str, Any] | None = None
    size = 0
    if path.exists():
        if not is_whole_zip(path):
            raise corrupt(folder, f"{STATE} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not set(_OF_LOG) <= set(state):
            raise corrupt(folder, f"{STATE} was written by an earlier version")
        size, sha256 = (state.pop(name) for name in _OF_LOG)
        if hashlib.sha256(content[:size]).hexdigest() != sha256:
            raise corrupt(folder, f"{LOG} has changed since {STATE} was written")
    if log.exists() and cut_log:
        with replacing(log) as temporary:
            temporary.write_bytes(content[:size])
    return state
