"""The parts of a report: rows, blocks, text tables, and the report itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from shiqbench.report.names import is_named, with_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from shiqbench.plugin.task import Scores
    from shiqbench.report.aggregate.scores import Aggregate
    from shiqbench.report.estimates import Difference, Estimate
    from shiqbench.report.known import KnownTask
    from shiqbench.report.ledger import Ledger
    from shiqbench.report.smallest import SmallestOfRows
    from shiqbench.store.index import EvaluationEntry, Index


@dataclass
class Row:
    """One recipe under one setting.

    Attributes:
        algorithm: Name of the algorithm.
        label: The settings in which rows of this algorithm differ, and whether other rows start from it.
        start: The cell that training starts from, or the model.
        evaluations: Evaluations in order of seed.
        estimate: Estimate of the primary metric.
        is_start: Whether other rows of its block start from it.
        difference: Difference from the baseline; None for the baseline itself, without a baseline, or without a pair.
        own: Whether it contains the cell that was just run; tables mark it with a star.
        mark: ``+`` if it is better than the baseline at 5 % after correction, ``-`` if it is worse; else empty.
    """

    algorithm: str
    label: str
    start: str
    evaluations: list[EvaluationEntry]
    estimate: Estimate
    is_start: bool = False
    difference: Difference | None = None
    own: bool = False
    mark: str = ""

    @property
    def name(self) -> str:
        """Algorithm and label."""
        return with_label(self.algorithm, self.label)

    def is_named(self, text: str) -> bool:
        """Whether a text names this row: its algorithm, then words of its label, such as ``shiq stop_future=True``."""
        return is_named(text, self.algorithm, self.label)

    @property
    def seeds(self) -> list[int]:
        """Training seeds; empty if nothing is trained."""
        return [e.cell.seed for e in self.evaluations if e.cell.seed is not None]

    @property
    def trained(self) -> bool:
        """Whether anything was trained."""
        return bool(self.seeds)

    @property
    def reduced(self) -> bool:
        """Whether any of its evaluations has a reduced setting."""
        return any(e.reduced for e in self.evaluations)

    def spent(self, name: str) -> float | None:
        """Mean number of updates or tokens over its trainings."""
        return _mean(e.cell.budget.get(name) for e in self.evaluations)

    @property
    def pass_tokens(self) -> dict[str, float]:
        """Mean number of tokens over its trainings, by kind of pass."""
        kinds = dict.fromkeys(kind for e in self.evaluations for kind in e.cell.pass_tokens)
        return {kind: fmean(e.cell.pass_tokens.get(kind, 0) for e in self.evaluations) for kind in kinds}

    @property
    def train_tokens(self) -> float | None:
        """Mean number of tokens over its trainings, of all passes; None if nothing is trained."""
        return sum(self.pass_tokens.values()) if self.trained else None

    @property
    def train_seconds(self) -> float | None:
        """Mean time of its trainings."""
        return _mean(e.cell.seconds for e in self.evaluations)

    @property
    def hardware(self) -> str:
        """The machines of its trainings; empty if no manifest tells."""
        return ", ".join(sorted({e.cell.hardware for e in self.evaluations}))

    @property
    def eval_seconds(self) -> float:
        """Mean time of its evaluations."""
        return fmean(e.seconds for e in self.evaluations)

    def metric(self, name: str) -> float | None:
        """Mean of another metric over seeds; None if a seed does not have it."""
        found = [e.metrics[name] for e in self.evaluations if name in e.metrics]
        return fmean(found) if len(found) == len(self.evaluations) else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return fmean(found) if found else None


@dataclass
class Block:
    """Rows that may be compared.

    Attributes:
        task: Name of the evaluated task.
        split: Split of its data; empty if the task has none.
        engine: Name and version of the engine.
        setting: First digits of the setting's digest.
        values: The whole setting.
        metric: Name of the primary metric.
        higher_is_better: Direction of the primary metric.
        columns: Further metrics: name, heading, format.
        how: Columns of the single scores that make the primary metric; None if the rows can be compared by seed only.
        rows: Rows, best first.
        baseline: Algorithm whose row the others are compared with.
        notes: Notes below the table, one line each.
        above: What the reader must know before the numbers, one line each: what is UNEQUAL among the rows.
        withheld: The reason why no row is called better; empty if there is none.
        trials: Whether the rows are trials of tuning.
        smallest: The smallest difference that each row can find; None if there is nothing to compute it from.
        told: What tells the setting apart from the task's other settings; empty if there is no other.
    """

    task: str
    split: str
    engine: str
    setting: str
    values: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    columns: tuple[tuple[str, str, str], ...]
    how: Scores | None
    rows: list[Row]
    baseline: str | None = None
    notes: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)
    withheld: str = ""
    trials: bool = False
    smallest: SmallestOfRows | None = None
    told: str = ""

    @property
    def title(self) -> str:
        """The properties that all rows share."""
        what = "tuning trials: " if self.trials else ""
        on = f" on {self.split}" if self.split else ""
        better = "higher" if self.higher_is_better else "lower"
        setting = f"setting {self.setting}" + f" ({self.told})" * bool(self.told)
        return f"{what}{self.task}{on}, {self.metric} ({better} is better), {self.engine}, {setting}"

    @property
    def heading(self) -> str:
        """Task, metric and its direction, for a column."""
        return f"{self.task} {self.metric} {'↑' if self.higher_is_better else '↓'}"

    @property
    def names(self) -> list[str]:
        """A different name for each row; rows of one name get their start, or else their number, too."""
        count = Counter(r.name for r in self.rows)
        found = [r.name if count[r.name] == 1 else f"{r.name} from {r.start}" for r in self.rows]
        return found if len(set(found)) == len(found) else [f"{r.name} ({i})" for i, r in enumerate(self.rows, 1)]

    def against(self, baseline: str) -> list[Row]:
        """The rows that this names; without the start if it was continued: others are compared with that.

        A row whose whole name it is comes before rows whose names have more words.
        """
        named = [r for r in self.rows if r.name == baseline] or [r for r in self.rows if r.is_named(baseline)]
        return [r for r in named if not r.is_start] or named


class TextTable(NamedTuple):
    """A table for every text format: its title, its cells as text, notes below it, and text above it."""

    title: str
    frame: pd.DataFrame
    notes: Sequence[str]
    above: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The comparison of a results folder.

    Attributes:
        index: Index of the results.
        known: Known facts about each evaluated task.
        blocks: Blocks, one per setting.
        notes: Notes on tasks without any result.
        figures: Files of the figures; empty if no figures were asked for.
        curves: Learning curves as tables.
        training: What trainings were asked for and what they moved, as a table; empty if it was not asked for.
        aggregate: Normalised scores over tasks; None if there is one task.
        ledger: What each cell cost, and how it was tuned; None in the report of one run.
    """

    index: Index
    known: Mapping[str, KnownTask]
    blocks: list[Block]
    notes: list[str]
    figures: list[Path] = field(default_factory=list)
    curves: list[TextTable] = field(default_factory=list)
    training: list[TextTable] = field(default_factory=list)
    aggregate: Aggregate | None = None
    ledger: Ledger | None = None
