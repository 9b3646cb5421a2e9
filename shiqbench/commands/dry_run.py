"""``shiqbench run --dry-run``: what is missing, and whether it fits the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.commands.common import emit
from shiqbench.running.memory import check_stages, memory_stages, room
from shiqbench.running.runner import missing

if TYPE_CHECKING:
    from shiqbench.base.progress import Display
    from shiqbench.planning.plan import RunPlan


def dry_run(plan: RunPlan, display: Display, *, as_json: bool) -> None:
    """Say what memory each stage takes.

    Raises:
        ConfigError: A stage does not fit.
    """
    stages = memory_stages(plan, room())
    for stage in stages:
        display.say(str(stage))
    check_stages(stages)
    if as_json:
        facts = {"missing": missing(plan), "memory": [stage.as_json() for stage in stages]}
        emit({"cell": plan.cell.digest, "path": str(plan.cell.folder), **facts})
