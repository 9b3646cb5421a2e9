"""Run one job in this process, on any executor."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from shiqbench.base.causes import as_disk_error, error_facts
from shiqbench.base.memory import return_freed_memory
from shiqbench.base.progress import listening
from shiqbench.matrices.executors.events import Ended, Event, EventDisplay

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.matrices.job import Job
    from shiqbench.running.workbench import Workbench


def perform(job: Job, emit: Callable[[Event], None], bench: Workbench) -> Ended:
    """Run a job and return its end: a result, an error or a stop.

    Args:
        job: The job.
        emit: Receives progress.
        bench: Models and engines that this process keeps. A failure empties it, because a kept part may have failed.
    """
    import torch

    from shiqbench.running.runner import run_plan

    # Sums over large tensors depend on the number of threads, so every executor uses the same number for a job.
    torch.set_num_threads(max(1, int(job.resources.cpus)))
    try:
        display = EventDisplay(job.name, emit, job.request.track)
        with listening(display):
            result = run_plan(job.plan, display, bench)
    except KeyboardInterrupt:
        return Ended(job.name)
    except Exception as error:
        with suppress(OSError):  # the disk of the log is full
            traceback.print_exc(file=sys.stderr)
        bench.close()
        return Ended(job.name, error=error_facts(as_disk_error(error)))
    finally:
        return_freed_memory()
    return Ended(job.name, result=result.as_json())
