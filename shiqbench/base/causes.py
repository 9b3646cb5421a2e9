"""The cause of a failure in one word, derived from the types and error numbers of exceptions."""

from __future__ import annotations

import errno
import sqlite3
from enum import StrEnum
from typing import TYPE_CHECKING

from shiqbench.base import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Cause(StrEnum):
    """One word per kind of failure; error.json and outcomes contain it."""

    CONFIGURATION = "configuration"  # the request, the data or the model cannot be used
    DIVERGED = "diverged"  # the loss, or what the weights compute, is not finite
    CORRUPT = "corrupt"  # a folder contradicts its DONE file
    OUT_OF_MEMORY = "out_of_memory"  # an allocation was refused, on the CPU or the GPU
    MEMORY = "memory"  # the job used more memory than its limit
    TIME = "time"  # the job ran longer than its limit
    DISK_FULL = "disk_full"  # the disk or a quota is full
    DISK = "disk"  # the disk is read-only, or fails
    NETWORK = "network"  # a connection failed
    ENGINE = "engine"  # the engine that generates text failed
    SUBMISSION = "submission"  # the cluster did not take the job
    KILLED = "killed"  # the worker process ended without a result
    OTHER = "other"  # anything else, such as a mistake in a plugin


# A later attempt may succeed. With every other cause the same job fails again in the same way: a full disk and full
# memory stay full while the other jobs continue to write.
TRANSIENT = frozenset({Cause.ENGINE, Cause.NETWORK, Cause.SUBMISSION, Cause.KILLED})
# The step fails on every machine, so other jobs that need the same step are not tried.
CERTAIN = frozenset({Cause.CONFIGURATION, Cause.DIVERGED, Cause.CORRUPT})

_BY_NUMBER = {
    errno.ENOSPC: Cause.DISK_FULL,
    errno.EDQUOT: Cause.DISK_FULL,
    errno.EROFS: Cause.DISK,
    errno.EIO: Cause.DISK,
    errno.ESTALE: Cause.DISK,
    errno.ENOMEM: Cause.OUT_OF_MEMORY,
    errno.ENETUNREACH: Cause.NETWORK,
    errno.EHOSTUNREACH: Cause.NETWORK,
    errno.ENETDOWN: Cause.NETWORK,
    errno.ETIMEDOUT: Cause.NETWORK,
}
# Exception types of libraries, named as text so that no library is imported for them. torch reports "out of memory"
# by type for the GPU and only in words for the CPU; writers in Rust or C++ lose the error number.
_BY_TYPE = {
    "OutOfMemoryError": Cause.OUT_OF_MEMORY,
    "ConnectTimeout": Cause.NETWORK,
    "ConnectError": Cause.NETWORK,
    "ReadTimeout": Cause.NETWORK,
    "ReadError": Cause.NETWORK,
    "RemoteProtocolError": Cause.NETWORK,
    "APIConnectionError": Cause.NETWORK,
    "ProtocolError": Cause.NETWORK,
    "MaxRetryError": Cause.NETWORK,
    "gaierror": Cause.NETWORK,
}
_BY_WORDS = {
    "can't allocate memory": Cause.OUT_OF_MEMORY,
    "No space left on device": Cause.DISK_FULL,
    "Disk quota exceeded": Cause.DISK_FULL,
    "Read-only file system": Cause.DISK,
}
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: Cause.DISK_FULL,
    sqlite3.SQLITE_READONLY: Cause.DISK,
    sqlite3.SQLITE_IOERR: Cause.DISK,
    sqlite3.SQLITE_CANTOPEN: Cause.DISK,
}
_OWN: tuple[tuple[type[errors.ShiqbenchError], Cause], ...] = (
    (errors.OverTimeError, Cause.TIME),
    (errors.OverMemoryError, Cause.MEMORY),
    (errors.SubmissionError, Cause.SUBMISSION),
    (errors.WorkerLostError, Cause.KILLED),
    (errors.DivergedError, Cause.DIVERGED),
    (errors.CorruptCellError, Cause.CORRUPT),
    (errors.EngineError, Cause.ENGINE),
    (errors.ConfigError, Cause.CONFIGURATION),
)


def cause_of(error: BaseException) -> Cause:
    """Return the cause in one word. A machine cause anywhere in the chain comes before the type of the error itself."""
    for each in _chain(error):
        found = _of_the_machine(each)
        if found is not None:
            return found
    return next((cause for kind, cause in _OWN if isinstance(error, kind)), Cause.OTHER)


def as_disk_error(error: Exception, where: Path | str = "") -> Exception:
    """Return a disk failure as a one-line error that says what to do; return any other error unchanged.

    Args:
        error: The caught error.
        where: The path that was being written, for errors that do not name their file.
    """
    cause = cause_of(error)
    if isinstance(error, errors.ShiqbenchError) or cause not in (Cause.DISK_FULL, Cause.DISK):
        return error
    first = next(e for e in _chain(error) if _of_the_machine(e) is cause)
    place = getattr(first, "filename", None) or where
    what, do = "no space left on the disk", "free some space, then run the same command to continue"
    if cause is Cause.DISK:
        said = getattr(first, "strerror", None) or str(first)
        what, do = f"the disk cannot be written: {said}", "fix that, then run the same command to continue"
    found = errors.DiskError(what, where=str(place), do=do)
    found.__cause__ = error  # cause_of() finds the cause in it
    return found


def error_facts(error: BaseException) -> dict[str, str]:
    """Return the content of error.json: ``type``, ``what``, ``where``, ``do``, ``cause``; empty ones are left out."""
    facts = {"type": type(error).__name__, "what": getattr(error, "what", "") or " ".join(str(error).split())}
    facts |= {"where": getattr(error, "where", ""), "do": getattr(error, "do", ""), "cause": cause_of(error).value}
    return {name: text for name, text in facts.items() if text or name == "what"}


def _of_the_machine(error: BaseException) -> Cause | None:
    if isinstance(error, MemoryError):
        return Cause.OUT_OF_MEMORY
    if isinstance(error, ConnectionError):
        return Cause.NETWORK
    if isinstance(error, sqlite3.Error):
        return _OF_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # the higher bits are finer distinctions
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_TYPE:
            return _BY_TYPE[kind.__name__]
    if isinstance(error, errors.ShiqbenchError):  # shiqbench or a user wrote its words
        return None
    return next((cause for words, cause in _BY_WORDS.items() if words in str(error)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
