"""Errors that users see: one line each that says what is wrong, where, and what to do.

Every class inherits :class:`ShiqbenchError` and the standard exception that a
caller expects, so ``except ValueError`` and ``except ShiqbenchError`` both work.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitCode(IntEnum):
    """Exit code of the process."""

    DONE = 0  # the requested result exists
    FAILED = 1  # the run started and failed
    USAGE = 2  # the request is invalid or cannot be met; nothing was written
    INTERRUPTED = 130  # Ctrl-C; run the same command to continue


class ShiqbenchError(Exception):
    """Base of all errors that shiqbench raises on purpose.

    Args:
        what: What is wrong.
        where: The option, file or plugin that has the problem.
        do: What the reader can do about it.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = what, where, do
        super().__init__(self.line())

    def lines(self) -> list[str]:
        """Return the lines to show: one, or more if several things are wrong."""
        return [self.line()]

    def line(self) -> str:
        """Return the message in its one-line form, ``what (where); what to do``."""
        text = self.what + (f" ({self.where})" if self.where else "")
        return " ".join((text + (f"; {self.do}" if self.do else "")).split())


class ConfigError(ShiqbenchError, ValueError):
    """The request is wrong or cannot be met; nothing was written."""

    exit_code = ExitCode.USAGE


class ConfigListError(ConfigError):
    """Several things are wrong, each with its own line; all were found before anything was written."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.what, where=first.where, do=first.do)

    def lines(self) -> list[str]:
        """Return one line per error."""
        return [e.line() for e in self.errors]


class PluginError(ConfigError):
    """A plugin is missing, is broken, or has a conflict with another plugin."""


class AssetError(ConfigError):
    """A pinned model or data file cannot be fetched, or its content is not the pinned one."""


class MissingDependencyError(ConfigError):
    """An optional package that the request needs is not installed."""


class RunError(ShiqbenchError, RuntimeError):
    """The run started and could not continue."""


class CorruptCellError(RunError):
    """A result folder contradicts its own DONE file."""


class DiskError(RunError):
    """A disk is full, is read-only, or fails."""


class EngineError(RunError):
    """The engine that generates text failed. This is a failure of the machine and is never scored."""


class DivergedError(RunError):
    """The loss, its gradient, or a log-probability that the weights give is not finite."""


class WorkerLostError(RunError):
    """The process that worked on a job ended without a result."""


class SubmissionError(RunError):
    """A cluster did not take a job."""


class OverTimeError(RunError):
    """A job ran longer than its limit."""


class OverMemoryError(RunError):
    """A job used more memory than its limit."""
