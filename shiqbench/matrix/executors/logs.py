"""Where a job's standard output and standard error go."""

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

    from shiqbench.matrix.job import Job

LOGS = ".logs"  # below the results folder


def log_file(job: Job) -> Path:
    """A job's log, whatever characters its name has."""
    readable = re.sub(r"[^\w.=-]+", "_", job.name)[:80]
    return job.request.results / LOGS / f"{readable}-{short(digest(job.name))[:6]}.log"


@contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Send standard output and standard error, of libraries in C too, to the end of a file."""
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
    """What the log's disk does not take is dropped; nobody else is to get it."""
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
