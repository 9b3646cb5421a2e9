"""The work of every process except the main one: train with it, write no file, print no message."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.running.workbench import workbench

if TYPE_CHECKING:
    from shiqbench.planning.plan import RunPlan
    from shiqbench.running.team import Team


def follow(plan: RunPlan, team: Team) -> None:
    """Take part in every training of the main process, until no more training follows.

    Args:
        plan: Same plan as that of the main process.
        team: Team that contains this process.

    Raises:
        ConfigError: The main process trains a cell that is not in this process's plan.
        ShiqbenchError: The training failed.
    """
    from transformers.utils import logging

    from shiqbench.base.progress import Display
    from shiqbench.plugin.start_model import StartModel
    from shiqbench.running.train_cell import fit_policy
    from shiqbench.running.weights import start_weights
    from shiqbench.training.snapshots import FOLDER, Snapshots

    logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # the main process shows the same warnings
    cells = {c.digest: c for c in plan.trained}
    with workbench(team) as bench:
        for order in team.orders():
            if order.cell not in cells:
                raise ConfigError(
                    f"the main process trains {order.cell}, but this process has planned {', '.join(cells)}",
                    where="launch",
                    do="give every process the same command, files and packages",
                )
            cell = cells[order.cell]
            fit_policy(
                cell,
                StartModel(*start_weights(cell), template=cell.model.template),
                order.folder,
                team.share(None),
                Display(quiet=True),
                bench,
                Snapshots(order.folder / FOLDER, order.keep, main=False),
            )
