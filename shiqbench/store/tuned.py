"""The trials of tuning, which ``tuned/`` of a results folder keeps: a file for each choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FOLDER = "tuned"  # below the results folder


@dataclass(frozen=True)
class Tuned:
    """A choice among trials.

    Attributes:
        algorithm: Name of the algorithm.
        task: Name of the task that it trains on.
        model: Model as the matrix names it; None for the preset's.
        trials: First digits of each trial's cell -> the settings that were tried.
        chosen: Settings of the best trial.
        under: The task's settings that a matrix swept, and that all these trials had.
    """

    algorithm: str
    task: str
    model: str | None
    trials: Mapping[str, Mapping[str, Any]]
    chosen: Mapping[str, Any]
    under: Mapping[str, Any] = field(default_factory=dict)


def write_tuned(
    results: Path,
    of: Sequence[str | None],
    trials: Sequence[Mapping[str, Any]],
    chosen: Any,
    under: Mapping[str, Any] | None = None,
) -> None:
    """Write a choice.

    Args:
        results: Results folder.
        of: Algorithm, task and model.
        trials: ``settings``, ``cell`` (digest) and ``primary`` of each trial.
        chosen: Settings of the best trial.
        under: The task's settings that a matrix swept, and that all these trials had.
    """
    kept = {"of": of, "trials": trials, "chosen": chosen, **({"under": under} if under else {})}
    write_json(results / FOLDER / f"{short(digest([t['cell'] for t in trials]))}.json", kept)


def read_tuned(results: Path) -> tuple[list[Tuned], list[str]]:
    """Read every choice.

    Returns:
        The choices, and a line for each file that cannot be read.
    """
    found, wrong = [], []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            kept = read_json(path)
            trials = {short(t["cell"]): dict(t["settings"]) for t in kept["trials"]}
            algorithm, task, model = kept["of"]
            found.append(Tuned(algorithm, task, model, trials, dict(kept["chosen"]), dict(kept.get("under", {}))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong.append(f"{FOLDER}/{path.name} cannot be read ({error}): its trials are unknown")
    return found, wrong
