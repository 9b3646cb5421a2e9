"""Carry one job out in this process, whoever has placed it here."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from shiqbench.base.causes import as_disk_error, error_facts
from shiqbench.matrix.executors.events import Ended, Event, EventDisplay

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.matrix.job import Job
    from shiqbench.running.workbench import Workbench


def perform(job: Job, emit: Callable[[Event], None], bench: Workbench) -> Ended:
    """Run a job; whatever happens is in the answer.

    Args:
        job: It.
        emit: Told about progress.
        bench: What this process keeps. After a failure nothing is kept: it may be what failed.
    """
    import torch

    from shiqbench.running.runner import run_plan

    # The same on every executor and whatever runs beside it: sums over large tensors depend on the number of threads.
    torch.set_num_threads(max(1, int(job.resources.cpus)))
    try:
        result = run_plan(job.plan, EventDisplay(job.name, emit), bench)
    except KeyboardInterrupt:
        return Ended(job.name)
    except Exception as error:
        with suppress(OSError):  # a log on a full disk
            traceback.print_exc(file=sys.stderr)
        bench.close()
        return Ended(job.name, error=error_facts(as_disk_error(error)))
    return Ended(job.name, result=result.as_json())
