"""Several processes that a launcher started for one cell: the rank of this process, and how they work together.

Only the main process decides what is missing, takes locks, writes and evaluates. The others wait for its orders; each
order is one training. Orders are sent through the launcher's store, and a process group exists only during a training:
an engine in the main process finds neither a group nor the launcher's variables, which vLLM would read.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.running import launcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from shiqbench.plugin.config import TrainConfig

VARIABLES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
)
ELASTIC = "TORCHELASTIC_"
PATIENCE = timedelta(days=30)  # the main process may sample or wait for hours; if it dies, the launcher stops all
_PR_SET_PDEATHSIG = 1
SILENCE = 15.0  # seconds; enough for the launcher to stop this process if the main process failed too


@dataclass(frozen=True)
class Place:
    """Position of a process among those that train together.

    Attributes:
        rank: 0 is the main process.
        count: Number of processes.
        sharded: Whether the processes divide the weights among them; if not, each of them has all weights.
    """

    rank: int = 0
    count: int = 1
    sharded: bool = False

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0

    def refuse_several(self, what: str, do: str) -> None:
        """Refuse an action that only a single process can do.

        Args:
            what: Name of the action.
            do: Advice on what the user can do instead.

        Raises:
            ConfigError: A launcher has started several processes.
        """
        if self.count > 1:
            raise ConfigError(f"{what} is for one process, and {self.count} were launched", where="launcher", do=do)

    def check(self, config: TrainConfig) -> None:
        """Refuse a training whose weights cannot be sharded as the launcher says.

        Raises:
            ConfigError: LoRA trains few weights, and leaves the rest in types that are not sharded here.
        """
        if self.sharded and config.lora_rank:
            raise ConfigError(
                "FSDP shards a training of all weights, and LoRA trains adapters only",
                where=f"train.lora_rank = {config.lora_rank}",
                do="launch with DDP (examples/accelerate/ddp.yaml), or set train.lora_rank=0",
            )


@dataclass(frozen=True)
class Order:
    """One training in which the other processes take part.

    Attributes:
        cell: Train digest of a cell in their own plan.
        folder: Folder with the checkpoint to continue from.
        keep: Updates after which the main process keeps the weights.
    """

    cell: str
    folder: Path
    keep: tuple[int, ...] = ()


@cache
def place() -> Place:
    """Place of this process, as the launcher set it at the start."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Place()
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), launcher.shards())


def let_main_speak_first() -> str:
    """Wait before a process reports its failure: if the main process failed too, the launcher stops this one first.

    Returns:
        Start of the reported line.
    """
    if place().main:
        return ""
    time.sleep(SILENCE)
    return f"process {place().rank}: "


class Team:
    """The processes of one launch, as seen by one of them.

    Args:
        place: Place of this process.
        variables: Variables of the launcher; they are in the environment only while the processes work together.
    """

    def __init__(self, place: Place, variables: Mapping[str, str]) -> None:
        self.place, self._variables = place, variables
        self._store: Any = None
        self._orders = 0
        self._dismissed = place.count == 1

    @contextmanager
    def together(self, order: Order) -> Iterator[None]:
        """For the main process: inside this context, the others train with it."""
        if self.place.count == 1:
            yield
            return
        self._say(order)
        with self._group():
            yield

    def dismiss(self) -> None:
        """For the main process: tell the others that no training follows, so that they end."""
        if not self._dismissed:
            self._dismissed = True
            self._say(None)
            # The store may be in this process, so this process ends only after all others have read the order.
            self._open_store().wait([f"heard/{rank}" for rank in range(1, self.place.count)], PATIENCE)

    def orders(self) -> Iterator[Order]:
        """For the others: yield every training, inside its process group, until the main process dismisses them."""
        while True:
            self._orders += 1
            key = f"order/{self._orders}"
            self._open_store().wait([key], PATIENCE)
            order: Order | None = pickle.loads(self._store.get(key))  # noqa: S301 - from the main process
            if order is None:
                self._store.set(f"heard/{self.place.rank}", b"")
                return
            with self._group():
                yield order

    def share(self, value: Any) -> Any:
        """Inside a process group: return the main process's value in every process."""
        if self.place.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def total(self, *counts: int) -> tuple[int, ...]:
        """Inside a process group: return sums over the processes; each process waits for all others."""
        if self.place.count == 1:
            return counts
        from accelerate.utils import gather_object

        return tuple(map(sum, zip(*gather_object([counts]), strict=True)))

    def _say(self, order: Order | None) -> None:
        self._orders += 1
        self._open_store().set(f"order/{self._orders}", pickle.dumps(order))

    def _open_store(self) -> Any:
        if self._store is None:
            from torch.distributed.rendezvous import rendezvous

            with self._launched():
                self._store, _, _ = next(rendezvous("env://"))
        return self._store

    @contextmanager
    def _launched(self) -> Iterator[None]:
        """Put the launcher's variables into the environment, inside this context."""
        os.environ.update(self._variables)
        try:
            yield
        finally:
            for name in self._variables:
                os.environ.pop(name, None)

    @contextmanager
    def _group(self) -> Iterator[None]:
        """Open a process group with its own keys in the store, and accelerate's state for it.

        After an error the group stays open: closing it waits for processes that may never come.
        """
        import torch
        from accelerate.state import AcceleratorState, PartialState
        from torch.distributed.distributed_c10d import PrefixStore

        gpu = torch.cuda.is_available()
        with self._launched():
            if gpu:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            torch.distributed.init_process_group(
                "cuda:nccl,cpu:gloo" if gpu else "gloo",
                store=PrefixStore(f"training/{self._orders}", self._open_store()),
                rank=self.place.rank,
                world_size=self.place.count,
            )
            PartialState(cpu=not gpu)
            yield
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
            AcceleratorState._reset_state(reset_partial_state=True)


ALONE = Team(Place(), {})


def launched() -> Team:
    """The team of this launch; removes the launcher's variables from the environment, once.

    Raises:
        ConfigError: The launcher sets an option that this program decides itself, or does not support.
    """
    here = place()
    launcher.check(here.count)
    launcher.forget_sharding()
    if here.count > 1:
        _end_with_the_launcher()
    names = [k for k in os.environ if k in VARIABLES or k.startswith(ELASTIC)]
    return Team(here, {k: os.environ.pop(k) for k in names})


def _end_with_the_launcher() -> None:
    """On Linux, let the kernel end this process with its launcher, because each process has its own session."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
