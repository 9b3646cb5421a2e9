"""Experiment trackers: accelerate's classes, fed from the log of a training, so that a run in them is whole.

A training that continues after a stop begins a new run in the tracker and first gives it the lines that its log has
already. A cell that was trained before is given to a tracker in the same way.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import flatten
from shiqbench.base.errors import ConfigError, MissingDependencyError, RunError
from shiqbench.base.files import read_json, write_json
from shiqbench.base.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")  # each is a package, and an extra of the same name
PROJECT = "shiqbench"
FOLDER = "tracker"  # in the cell's folder
LOG = "train.jsonl"
TRACKED = "{}.json"  # in FOLDER, after a run has ended: the last update that it has


def check_tracker(name: str | None) -> None:
    """Refuse a tracker that is unknown or not installed; None is no tracker.

    Raises:
        ConfigError: It cannot be used.
    """
    if name is None:
        return
    if name not in TRACKERS:
        raise ConfigError(
            f"unknown tracker {name!r}{did_you_mean(name, TRACKERS)}",
            where="--track",
            do=f"one of {', '.join(TRACKERS)}",
        )
    if importlib.util.find_spec(name) is None:
        raise MissingDependencyError(
            f"{name} is not installed", where=f"--track {name}", do=f"pip install 'shiqbench[{name}]'"
        )


class Tracker:
    """One run in a tracker; it is named like the cell.

    Args:
        kind: Name of the tracker.
        name: Name of the run.
        folder: Folder of the cell, with its recipe and its log.

    Raises:
        RunError: The tracker does not start; the message has its reason.
    """

    def __init__(self, kind: str, name: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.last = 0
        (folder / FOLDER / TRACKED.format(kind)).unlink(missing_ok=True)
        with redirect_stdout(sys.stderr):  # standard output is for results
            try:
                self.accelerator = _start(kind, name, folder)
            except Exception as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise RunError(f"{kind} does not start: {reason}", where=f"--track {kind}", do=_ADVICE[kind]) from error

    def log(self, line: dict[str, Any]) -> None:
        """Log the numbers of one line of the log, at the update that it names; lines before it go first."""
        if self.last == 0:
            for before in _lines(self.folder):
                if before["update"] < line["update"]:
                    self._log(before)
        self._log(line)

    def _log(self, line: dict[str, Any]) -> None:
        values = {k: v for k, v in line.items() if isinstance(v, (int, float)) and k != "update"}
        self.accelerator.log(values, step=line["update"])
        self.last = line["update"]

    def close(self) -> None:
        """End the run, and note what it has."""
        with redirect_stdout(sys.stderr):
            if self.kind == "trackio":
                import trackio

                trackio.finish()  # forgets the run, too; it would be ended and announced once more at exit
            else:
                for each in self.accelerator.trackers:  # `end_training` would also leave the process group
                    each.finish()
        (self.folder / FOLDER).mkdir(exist_ok=True)
        write_json(self.folder / FOLDER / TRACKED.format(self.kind), {"update": self.last})


@contextmanager
def tracking(kind: str | None, name: str, folder: Path) -> Iterator[Tracker | None]:
    """Open a run for a training in a folder; None if nothing is tracked.

    A folder without a recipe is the second training of a cell, which has been tracked in its own folder.
    """
    if kind is None or not (folder / "config.json").is_file():
        yield None
        return
    tracker = Tracker(kind, name, folder)
    try:
        yield tracker
    finally:
        tracker.close()


def is_tracked(kind: str | None, folder: Path) -> bool:
    """Whether a tracker has the whole log of a training, or there is nothing to track."""
    lines = [] if kind is None else _lines(folder)
    if not lines:
        return True
    marker = folder / FOLDER / TRACKED.format(kind)
    return marker.is_file() and bool(read_json(marker)["update"] == lines[-1]["update"])


def track_finished(kind: str, name: str, folder: Path) -> None:
    """Give the log of a finished training to a tracker."""
    with tracking(kind, name, folder) as tracker:
        if tracker is not None:
            tracker.log(_lines(folder)[-1])


def _lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / LOG
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def _start(kind: str, name: str, folder: Path) -> Any:
    """Start one of accelerate's trackers; what the tracker's own variables do not place goes into the cell's folder."""
    import torch
    from accelerate import Accelerator

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    for of_stopped in {"tensorboard": [PROJECT], "wandb": ["wandb"], "mlflow": ["mlflow"]}.get(kind, ()):
        shutil.rmtree(place / of_stopped, ignore_errors=True)
    options: dict[str, Any] = {}
    if kind == "wandb":
        import wandb

        # Without this, wandb takes over standard output and standard error.
        options = {"name": name, "settings": wandb.Settings(console="off")}
        if "WANDB_DIR" not in os.environ:
            options["dir"] = str(place)
    elif kind == "trackio":
        options = {"name": name, "embed": False}
    elif kind == "mlflow":
        options = {"run_name": name}
        _place_mlflow(place / "mlflow")
    # The first accelerator sets the device for all others in this process, also for the trainer's.
    on_cpu = not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpu, log_with=kind, project_dir=str(place))
    # tensorboard would show the recipe as one more run.
    recipe = None if kind == "tensorboard" else _recipe(folder)
    accelerator.init_trackers(PROJECT, config=recipe, init_kwargs={kind: options})
    return accelerator


def _recipe(folder: Path) -> dict[str, Any]:
    values = flatten(read_json(folder / "config.json"))
    return {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in values.items()}


def _place_mlflow(store: Path) -> None:
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        # Files need no database and no lock; mlflow wants to be told that they are meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri(store.absolute().as_uri())
    # Two processes may look for the experiment at once, find none, and both create it. A real failure comes again.
    with suppress(mlflow.MlflowException):
        mlflow.create_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))


_ADVICE = {
    "tensorboard": "fix this, or leave --track out",
    "wandb": "run `wandb login`, or set WANDB_MODE=offline",
    "trackio": "check TRACKIO_DIR and TRACKIO_SPACE_ID, or leave --track out",
    "mlflow": "check MLFLOW_TRACKING_URI, or leave --track out",
}
