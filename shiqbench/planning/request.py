"""What a user asks for, before it is validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Request:
    """The user's request.

    Attributes:
        algo: Name of the algorithm.
        task: Name of the task.
        model: Embedded name, folder, hub name, or ``cell:DIGEST``; None takes the preset's model.
        seed: Training seed.
        preset: Preset of the task.
        settings: ``section.key`` -> value.
        engine: Overrides ``eval.engine``.
        repeats: Overrides ``eval.repeats``.
        also: ``TASK`` or ``TASK:ARG``, evaluated in addition.
        eval_every: Updates between two evaluations of a learning curve; None for no curve.
        plugins: Local plugin files.
        results: Results folder.
        track: Experiment tracker that gets the log of each training; None for none.
        keep: ``best`` also keeps and evaluates the weights that are best on validation; None only the final ones.
    """

    algo: str
    task: str
    model: str | None = None
    seed: int = 0
    preset: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    engine: str | None = None
    repeats: int | None = None
    also: tuple[str, ...] = ()
    eval_every: int | None = None
    plugins: tuple[Path, ...] = ()
    results: Path = Path("results")
    track: str | None = None
    keep: str | None = None
