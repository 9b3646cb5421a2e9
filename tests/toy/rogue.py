"""An algorithm that does to its process what machines do, at a chosen update; else it imitates data by returns."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Literal

from shiqbench.base.errors import EngineError
from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl


class RogueConfig(AlgorithmConfig):
    act: Literal["none", "die", "exit", "sleep", "deaf", "warn", "interrupt", "eat", "diverge", "engine", "disk"] = (
        "none"
    )
    at: int = 5
    once: str = ""
    pace: float = 0.0
    tally: str = ""


class Rogue(Algorithm[RogueConfig]):
    uses_reference = False
    calls = 0

    def loss(self, batch: Batch) -> Loss:
        self.calls += 1
        time.sleep(self.config.pace)
        if self.config.tally:
            with Path(self.config.tally).open("a") as stream:
                stream.write("x")
        nll_E = -batch.logp_EA.sum(-1) * batch.return_E
        if self.calls == self.config.at and self._acts():
            nll_E = nll_E * self._act()
        return Loss(batch.weight_U * nll_E, batch.weight_U)

    def _acts(self) -> bool:
        marker = Path(self.config.once or "/")
        if self.config.once and marker.exists():
            return False
        if self.config.once:
            marker.touch()
        return True

    def _act(self) -> float:
        match self.config.act:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(7)
            case "sleep":
                time.sleep(600)
            case "deaf":
                signal.signal(signal.SIGUSR2, signal.SIG_IGN)
                time.sleep(600)
            case "warn":  # as submitit is warned of a time limit
                os.kill(os.getpid(), signal.SIGUSR2)
            case "interrupt":
                os.kill(os.getpid(), signal.SIGTERM)
            case "eat":
                eaten = bytearray(os.urandom(1 << 20)) * 1500
                time.sleep(600 + len(eaten) * 0)
            case "engine":
                raise EngineError("the engine stumbled")
            case "disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "diverge":
                return float("nan")
        return 1.0


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    return [
        AlgorithmSpec(
            name="rogue",
            version="1",
            summary="misbehaves",
            target=f"{__name__}:Rogue",
            config=f"{__name__}:RogueConfig",
        )
    ]
