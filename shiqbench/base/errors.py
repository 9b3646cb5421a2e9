"""Errors that a user meets: one line each, naming what, where, and what to do.

Every class inherits :class:`ShiqbenchError` and the standard exception that a
caller would expect, so ``except ValueError`` and ``except ShiqbenchError`` both work.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitCode(IntEnum):
    """What the process answers to its caller."""

    DONE = 0  # what was asked for is there
    FAILED = 1  # the run started and failed
    USAGE = 2  # the request cannot be carried out as it stands; nothing was written
    INTERRUPTED = 130  # Ctrl-C; the same command continues


class ShiqbenchError(Exception):
    """Base of all errors that shiqbench raises on purpose.

    Args:
        what: What is wrong.
        where: The option, file or plugin concerned.
        do: What the reader can do about it.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = what, where, do
        super().__init__(self.line())

    def lines(self) -> list[str]:
        """What is shown: one line, or more where several things are wrong."""
        return [self.line()]

    def line(self) -> str:
        """The message in its one-line form, ``what (where); what to do``."""
        text = self.what + (f" ({self.where})" if self.where else "")
        return " ".join((text + (f"; {self.do}" if self.do else "")).split())


class ConfigError(ShiqbenchError, ValueError):
    """The request is wrong or cannot be met: nothing has been written."""

    exit_code = ExitCode.USAGE


class ConfigListError(ConfigError):
    """Several things that are wrong, all of them known before anything was written; each is a line of its own."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.what, where=first.where, do=first.do)

    def lines(self) -> list[str]:
        """One line each."""
        return [e.line() for e in self.errors]


class PluginError(ConfigError):
    """A plugin is missing, broken, or clashes with another."""


class AssetError(ConfigError):
    """A pinned model or data file cannot be had, or is not the pinned one."""


class MissingDependencyError(ConfigError):
    """An optional package that the request needs is not installed."""


class RunError(ShiqbenchError, RuntimeError):
    """The run started and could not go on."""


class CorruptCellError(RunError):
    """A result folder contradicts its own DONE file."""


class DiskError(RunError):
    """A disk is full, can only be read, or fails."""


class EngineError(RunError):
    """The engine that generates text failed: a failure of the machine, never scored."""


class DivergedError(RunError):
    """The loss or its gradient is no longer finite."""


class WorkerLostError(RunError):
    """The process that worked on a job ended without an answer."""


class OverTimeError(RunError):
    """A job took longer than its limit."""


class OverMemoryError(RunError):
    """A job took more memory than its limit."""
