"""Every failure has one cause, whoever noticed it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from shiqbench.base import errors
from shiqbench.base.causes import CERTAIN, TRANSIENT, Cause, as_disk_error, cause_of, error_facts


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class ConnectError(Exception):
    """As httpx names it."""


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errors.ConfigError("x"), Cause.CONFIGURATION),
        (errors.PluginError("x"), Cause.CONFIGURATION),
        (errors.DivergedError("x"), Cause.DIVERGED),
        (errors.CorruptCellError("x"), Cause.CORRUPT),
        (errors.EngineError("x"), Cause.ENGINE),
        (errors.WorkerLostError("x"), Cause.KILLED),
        (errors.OverTimeError("x"), Cause.TIME),
        (errors.OverMemoryError("x"), Cause.MEMORY),
        (errors.RunError("No space left on device"), Cause.OTHER),
        (MemoryError(), Cause.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), Cause.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Cause.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "full"), Cause.DISK_FULL),
        (RuntimeError("I/O error: No space left on device (os error 28)"), Cause.DISK_FULL),
        (OSError(errno.EROFS, "Read-only file system"), Cause.DISK),
        (OSError(errno.EIO, "Input/output error"), Cause.DISK),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), Cause.NETWORK),
        (ConnectError("x"), Cause.NETWORK),
        (TimeoutError(errno.ETIMEDOUT, "x"), Cause.NETWORK),
        (ZeroDivisionError("x"), Cause.OTHER),
        (chained(errors.EngineError("does not start"), OutOfMemoryError("x")), Cause.OUT_OF_MEMORY),
        (chained(errors.AssetError("no wheel"), ConnectionResetError("x")), Cause.NETWORK),
    ],
)
def test_the_cause(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_a_full_database_is_a_full_disk() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as raised:
        database.execute("CREATE TABLE t AS SELECT hex(randomblob(100000)) AS x")
    assert cause_of(raised.value) is Cause.DISK_FULL


def test_what_a_disk_refuses_is_told_with_its_place() -> None:
    full = as_disk_error(OSError(errno.ENOSPC, "No space left on device", "/disk/file"), "/elsewhere")
    assert str(full) == "no space left on the disk (/disk/file); free some space, then run the same command to continue"
    assert error_facts(full)["cause"] == "disk_full"
    shut = as_disk_error(chained(ValueError("x"), OSError(errno.EROFS, "Read-only file system")), "/cell")
    assert str(shut).startswith("the disk cannot be written: Read-only file system (/cell); ")
    assert error_facts(shut)["cause"] == "disk"
    for other in (ValueError("x"), errors.AssetError("the disk is full"), full):
        assert as_disk_error(other) is other


def test_facts_leave_out_what_is_empty() -> None:
    assert error_facts(ValueError("a\nb")) == {"type": "ValueError", "what": "a b", "cause": "other"}
    assert error_facts(errors.ConfigError("a", where="b", do="c"))["what"] == "a"


def test_what_is_certain_is_never_tried_again() -> None:
    assert not CERTAIN & TRANSIENT


def test_every_cause_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "executors.md").read_text()
    assert all(f"`{cause}`" in text for cause in Cause)
