"""Processes of the command that start at once: forked from a process that has imported torch and transformers.

To import them takes up to ten seconds, which is most of the time of a short run. What a test sees is the same as of
``python -m shiqbench``: a separate process with its own environment, output, exit code and signals.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PRELOADED = (
    *("torch.distributed.run", "transformers.models.llama.modeling_llama", "accelerate", "pandas", "pyarrow.parquet"),
    *("shiqbench.running.runner", "shiqbench.running.train_cell", "shiqbench.running.follow"),
    *("shiqbench.engines.transformers", "shiqbench.training.loop"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


class Started:
    """A process, with the methods of ``subprocess.Popen``."""

    def __init__(self, target: Callable[..., None], *arguments: Any, env: Mapping[str, str] | None, cwd: Path | None):
        self._said = Path(tempfile.mkdtemp(prefix="said-"))
        become = (target, arguments, dict(os.environ if env is None else env), cwd or Path.cwd(), self._said)
        self._process = _context.Process(target=_become, args=become)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 400) -> int:
        return self.finish(timeout).returncode

    def finish(self, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Wait for the end of the process, and return what ``subprocess.run`` does."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            self.kill()
            self._process.join()
        out, err = (f.read_text() if f.exists() else "" for f in (self._said / "out", self._said / "err"))
        shutil.rmtree(self._said)
        assert code is not None, f"not ended after {timeout} seconds: {err}"
        return subprocess.CompletedProcess([], code, out, err)


def start(words: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Started:
    """Start ``shiqbench`` with these words."""
    return Started(_command, words, env=env, cwd=cwd)


def launch(words: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Started:
    """Start ``torchrun --standalone --nproc_per_node 2 -m shiqbench`` with these words."""
    return Started(_launcher, _launched_command, words, env=env, cwd=cwd)


def call(function: Callable[..., None], *arguments: str) -> Started:
    """Start a process that calls a function of a module."""
    return Started(function, *arguments, env=None, cwd=None)


def launch_call(function: Callable[..., None], *arguments: str, processes: int = 2) -> Started:
    """Start torchrun with processes that call a function of a module."""
    env = {**os.environ, "PROCESSES": str(processes)}
    return Started(_launcher, function, *arguments, env=env, cwd=None)


def _become(
    target: Callable[..., None], arguments: tuple[Any, ...], env: dict[str, str], cwd: Path, said: Path
) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    target(*arguments)


def _command(words: list[str]) -> None:
    from shiqbench.commands.app import main

    sys.argv = ["shiqbench", *words]
    main()


def _launched_command(words: list[str]) -> None:
    from shiqbench.running import team

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker has the handler of its launcher, a program has not
    team.SILENCE = 5.0  # the launcher needs a tenth of a second
    _command(words)


def _launcher(entry: Callable[..., None], *arguments: Any) -> None:
    """The agent of torchrun, whose workers are forked where the command line would start programs."""
    from torch.distributed.elastic.multiprocessing.errors import record
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    one_machine = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "--rdzv_id", str(os.getpid())]
    processes = ["--nproc_per_node", os.environ.get("PROCESSES", "2")]
    options = [*one_machine, *processes, "--start_method", "fork", "--shutdown_timeout", "3"]
    config, _, _ = config_from_args(parse_args([*options, "not a program"]))  # type: ignore[no-untyped-call]
    record(elastic_launch(config, entry))(*arguments)
