"""Log files: a job's standard output and standard error."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.base.digest import digest, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shiqbench.matrices.job import Job

LOGS = ".logs"  # below the results folder


def log_file(job: Job) -> Path:
    """Return the log file of a job; its name may have any characters."""
    readable = re.sub(r"[^\w.=-]+", "_", job.name)[:80]
    return job.request.results / LOGS / f"{readable}-{short(digest(job.name))[:6]}.log"


@contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Append standard output and standard error, also those of C libraries, to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        yield
    finally:
        _flush_or_drop()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


def _flush_or_drop() -> None:
    """Flush; drop the text if the disk of the log is full, so that it does not reach the next log."""
    try:
        _flush()
    except OSError:
        with Path(os.devnull).open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        _flush()


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
