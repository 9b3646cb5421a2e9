"""``--dry-run`` of ``run`` and ``matrix``: what is missing, whether it fits the memory, and what it can find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from shiqbench.commands.common import emit
from shiqbench.running.memory import check_stages, memory_stages, room
from shiqbench.running.runner import missing

if TYPE_CHECKING:
    from shiqbench.base.progress import Display
    from shiqbench.matrices.plan import MatrixPlan
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


def dry_run_matrix(plan: MatrixPlan, wished: float | None, *, at_once: int, slurm: bool, as_json: bool) -> None:
    """Say what memory the cells take and which differences they can find; with ``slurm``, how they are submitted.

    Args:
        plan: The plan, which is described already.
        wished: A difference that should be found, if one was given.
        at_once: Cells that run at the same time.
        slurm: Whether the cells are submitted to SLURM.
        as_json: Whether one JSON document has everything.
    """
    from shiqbench.matrices.describe import as_json as every_cell
    from shiqbench.matrices.executors.sbatch import describe
    from shiqbench.matrices.memory import needs
    from shiqbench.matrices.power import outlooks

    memory = needs(plan, at_once)
    sbatch = describe([*plan.trial_stage.missing, *plan.final.missing], plan.results) if slurm else []
    if as_json:
        facts = {"memory": [need.as_json() for need in memory], **({"sbatch": sbatch} if slurm else {})}
        emit({**every_cell(plan, wished), **facts})
        return
    found = dict.fromkeys(each.line() for each in outlooks(plan, wished))  # tasks may have one answer
    for line in (*(line for need in memory for line in need.lines()), *found, *sbatch):
        typer.echo(line)
