"""What an interrupted training continues from: one file of state and the log as it was then, both checked."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import is_whole_zip, replacing
from shiqbench.store.cell import corrupt

if TYPE_CHECKING:
    from pathlib import Path

STATE = "checkpoint/state.pt"
LOG = "train.jsonl"
_OF_LOG = ("log_bytes", "log_sha256")


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write everything that the next update depends on, and what the log is, in one file that is renamed into place.

    Args:
        folder: The cell's.
        state: What :func:`torch.save` takes; the log's line of the last update is written and flushed.
    """
    import torch

    with (folder / LOG).open("rb") as stream:
        log = stream.read()
        os.fsync(stream.fileno())
    of_log = dict(zip(_OF_LOG, (len(log), hashlib.sha256(log).hexdigest()), strict=True))
    # A stream of Python's, since its error says what the disk refuses, and the library's own says nothing.
    with replacing(folder / STATE) as temporary, temporary.open("wb") as stream:
        torch.save({**state, **of_log}, stream)


def load_state(folder: Path, *, cut_log: bool = True) -> dict[str, Any] | None:
    """The newest state, with the log cut to what it was then; None, and no line in the log, if there is none.

    Args:
        folder: The cell's.
        cut_log: Of several processes that train together one alone cuts it.

    Raises:
        CorruptCellError: State or log are not what was written.
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
            raise corrupt(folder, f"{LOG} is not what it was when {STATE} was written")
    if log.exists() and cut_log:
        with replacing(log) as temporary:
            temporary.write_bytes(content[:size])
    return state
