"""The state of a training on disk: whole, in one file, or sharded, in files that all processes write together."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch

from shiqbench.base.causes import as_disk_error
from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError, DiskError, RunError
from shiqbench.store.cell import CHECKPOINT, corrupt
from shiqbench.store.resumable import load_state, save_state
from shiqbench.training.sharding import whole_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from accelerate import Accelerator
    from torch.optim import Optimizer

    from shiqbench.training.policy import Policy

SHARDS = "shards-"  # begins the names of folders with a sharded state, next to the state file that names one of them
METADATA = ".metadata"  # what is in which file, as torch.distributed.checkpoint names it


class TrainingState(Protocol):
    """Reads and writes the state from which a training continues."""

    def save(self, done: int) -> None:
        """Write the state after this many updates; every process calls this."""

    def resume(self) -> int:
        """Load the newest state, if there is one; return the number of updates done.

        Raises:
            ConfigError: It was written with sharded weights and they are whole now, or the other way round.
            CorruptCellError: State or log have changed since they were written.
        """

    def trained(self) -> dict[str, Any]:
        """What training has changed, with whole tensors, in the main process; every process calls this."""


class WholeState:
    """The state of a policy whose weights every process has.

    Args:
        folder: Folder of ``checkpoint/`` and ``train.jsonl``.
        policy: Policy without wrappers.
        optimizer: Its optimiser.
        accelerator: Knows the processes.
    """

    def __init__(self, folder: Path, policy: Policy, optimizer: Optimizer, accelerator: Accelerator) -> None:
        self._folder, self._policy, self._optimizer = folder, policy, optimizer
        self._main = accelerator.is_main_process

    def save(self, done: int) -> None:
        """See :class:`TrainingState`."""
        if not self._main:
            return
        state = {
            "done": done,
            "model": self.trained(),
            "optimizer": self._optimizer.state_dict(),
            "torch": torch.get_rng_state(),
        }
        save_state(self._folder, state)

    def resume(self) -> int:
        """See :class:`TrainingState`."""
        state = load_state(self._folder, cut_log=self._main)
        if state is None:
            return 0
        if "shards" in state:
            raise _other_kind(self._folder, "sharded", "with FSDP (examples/accelerate/fsdp.yaml)")
        self._policy.load_state_dict(state["model"], strict=not self._policy.config.lora_rank)
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch"])
        return int(state["done"])

    def trained(self) -> dict[str, Any]:
        """See :class:`TrainingState`: with LoRA, only adapters and heads; the rest is loaded from the model itself."""
        every = not self._policy.config.lora_rank
        state = self._policy.state_dict()
        return {k: v for k, v in state.items() if every or "lora_" in k or k.startswith("heads.")}


class ShardedState:
    """The state of a sharded policy: each process writes and reads its parts, by ``torch.distributed.checkpoint``.

    The parts are in a folder of their own. The state file names it, with the sha256 of its files, and is replaced only
    after they are written: whenever the processes are killed, it names a complete folder.

    Args:
        folder: Folder of ``checkpoint/`` and ``train.jsonl``.
        policy: Sharded policy.
        optimizer: Its optimiser.
        accelerator: Knows the processes.
    """

    def __init__(self, folder: Path, policy: Policy, optimizer: Optimizer, accelerator: Accelerator) -> None:
        self._folder, self._policy, self._optimizer = folder, policy, optimizer
        self._main, self._rank = accelerator.is_main_process, accelerator.process_index
        self._count = accelerator.num_processes

    def save(self, done: int) -> None:
        """See :class:`TrainingState`."""
        from torch.distributed import all_gather_object
        from torch.distributed.checkpoint.state_dict_saver import save

        folder = self._folder / CHECKPOINT / f"{SHARDS}{done:06d}"
        with _in_one_line(folder):
            save(self._parts(), checkpoint_id=folder)
        found: list[Any] = [None] * self._count
        all_gather_object(found, {f.name: file_sha256(f) for f in folder.glob(f"__{self._rank}_*")})
        if self._main:
            sha256 = {name: value for of_one in found for name, value in of_one.items()}
            sha256[METADATA] = file_sha256(folder / METADATA)
            state = {"done": done, "torch": torch.get_rng_state(), "shards": folder.name, "sha256": sha256}
            save_state(self._folder, state)
            self._remove_all_but(folder.name)

    def resume(self) -> int:
        """See :class:`TrainingState`."""
        from torch.distributed.checkpoint.state_dict import set_state_dict
        from torch.distributed.checkpoint.state_dict_loader import load

        state = load_state(self._folder, cut_log=self._main)
        if state is not None and "shards" not in state:
            raise _other_kind(self._folder, "whole", "without FSDP")
        if self._main:
            self._remove_all_but(None if state is None else state["shards"])
        if state is None:
            return 0
        folder = self._folder / CHECKPOINT / state["shards"]
        for name, sha256 in sorted(state["sha256"].items())[self._rank :: self._count]:
            if not (folder / name).is_file() or file_sha256(folder / name) != sha256:
                raise corrupt(self._folder, f"{CHECKPOINT}/{folder.name}/{name} is damaged")
        parts = self._parts()
        with _in_one_line(folder):
            load(parts, checkpoint_id=folder)
        set_state_dict(
            self._policy,
            self._optimizer,
            model_state_dict=parts["model"],
            optim_state_dict=parts["optimizer"],
        )
        torch.set_rng_state(state["torch"])
        return int(state["done"])

    def trained(self) -> dict[str, Any]:
        """See :class:`TrainingState`."""
        return whole_state(self._policy, main=self._main)

    def _parts(self) -> dict[str, Any]:
        """This process's parts, by names that do not depend on the number of processes."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimizer = get_state_dict(self._policy, self._optimizer)
        return {"model": model, "optimizer": optimizer}

    def _remove_all_but(self, name: str | None) -> None:
        for folder in (self._folder / CHECKPOINT).glob(f"{SHARDS}*"):
            if folder.name != name:
                shutil.rmtree(folder)


def _other_kind(folder: Path, kind: str, do: str) -> ConfigError:
    return ConfigError(
        f"this training was interrupted with {kind} weights, and continues only with those",
        where=str(folder),
        do=f"launch {do}, or delete that folder to train from the beginning",
    )


@contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """Report a failure of ``torch.distributed.checkpoint``, which is no ``Exception``, as one.

    Raises:
        DiskError: The disk is full, can only be read, or fails.
        RunError: Anything else.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as failed:
        first, _ = next(iter(failed.failures.values()))
        error = as_disk_error(first, folder) if isinstance(first, Exception) else first
        if isinstance(error, DiskError):
            raise error from failed
        raise RunError(
            f"the sharded state failed: {type(first).__name__}: {first}",
            where=str(folder),
            do="run the same command to continue",
        ) from failed
