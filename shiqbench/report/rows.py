"""What a report consists of: rows, blocks, the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from shiqbench.report.estimates import Difference, Estimate
    from shiqbench.store.index import EvaluationEntry, Index


@dataclass
class Row:
    """One recipe under one setting.

    Attributes:
        algorithm: Its name.
        label: The settings in which rows of this algorithm differ, and whether others start from it.
        start: The cell that training starts from, or the model.
        evaluations: By rising seed.
        estimate: The primary metric.
        is_start: Whether other rows of its block start from it.
        difference: From the baseline; None for itself, without one, or where there is no pair.
        own: Whether it holds the cell that was just run; tables mark it with a star.
    """

    algorithm: str
    label: str
    start: str
    evaluations: list[EvaluationEntry]
    estimate: Estimate
    is_start: bool = False
    difference: Difference | None = None
    own: bool = False

    @property
    def name(self) -> str:
        """Algorithm and what sets it apart."""
        return f"{self.algorithm} {self.label}".strip()

    @property
    def seeds(self) -> list[int]:
        """Of training; none where nothing is trained."""
        return [e.cell.seed for e in self.evaluations if e.cell.seed is not None]

    @property
    def trained(self) -> bool:
        """Whether anything was."""
        return bool(self.seeds)

    @property
    def reduced(self) -> bool:
        """Whether any of it is a reduced setting."""
        return any(e.reduced for e in self.evaluations)

    def spent(self, name: str) -> float | None:
        """Mean updates or tokens of its trainings."""
        return _mean(e.cell.budget.get(name) for e in self.evaluations)

    @property
    def train_seconds(self) -> float | None:
        """Mean over its trainings."""
        return _mean(e.cell.seconds for e in self.evaluations)

    @property
    def eval_seconds(self) -> float:
        """Mean over its evaluations."""
        return fmean(e.seconds for e in self.evaluations)

    def metric(self, name: str) -> float | None:
        """Mean over seeds of another metric; None where a seed does not have it."""
        found = [e.metrics[name] for e in self.evaluations if name in e.metrics]
        return fmean(found) if len(found) == len(self.evaluations) else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return fmean(found) if found else None


@dataclass
class Block:
    """Rows that may be compared.

    Attributes:
        task: What is evaluated.
        split: Of its data; empty where a task has none.
        engine: Name and version.
        setting: First digits of the setting's digest.
        values: The setting.
        metric: Name of the primary metric.
        higher_is_better: Its direction.
        columns: Further metrics: name, heading, format.
        rows: Best first.
        baseline: Whose row the others are compared with.
        notes: What must be known, a line each.
    """

    task: str
    split: str
    engine: str
    setting: str
    values: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    columns: tuple[tuple[str, str, str], ...]
    rows: list[Row]
    baseline: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What all rows have in common."""
        on = f" on {self.split}" if self.split else ""
        better = "higher" if self.higher_is_better else "lower"
        return f"{self.task}{on}, {self.metric} ({better} is better), {self.engine}, setting {self.setting}"


class TextTable(NamedTuple):
    """A table as every text format shows it: its title, its cells as text, and what must be known about them."""

    title: str
    frame: pd.DataFrame
    notes: Sequence[str]


@dataclass(frozen=True)
class Report:
    """A results folder, compared.

    Attributes:
        index: What was read.
        blocks: One per setting.
        notes: Of tasks without any result.
        figures: Where they are; none were asked for where this is empty.
        curves: Learning curves as tables.
    """

    index: Index
    blocks: list[Block]
    notes: list[str]
    figures: list[Path] = field(default_factory=list)
    curves: list[TextTable] = field(default_factory=list)
