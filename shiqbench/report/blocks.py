"""Evaluations become blocks of rows: one block per setting, one row per recipe, and its seeds within the row.

Whatever may not be mixed (data, start, model, settings, engine, versions) is part of a setting or of a recipe, and so
of what tells blocks and rows apart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.digest import short
from shiqbench.errors import ConfigError
from shiqbench.labels import labels
from shiqbench.registry import did_you_mean
from shiqbench.report.estimates import Difference, Estimate, against, over_seeds
from shiqbench.report.notes import notes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.index import EvaluationEntry, Index
    from shiqbench.report.known import KnownTask
    from shiqbench.report.scores import ScoreBook


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
    """

    algorithm: str
    label: str
    start: str
    evaluations: list[EvaluationEntry]
    estimate: Estimate
    is_start: bool = False
    difference: Difference | None = None

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
        found = [e.cell.budget[name] for e in self.evaluations if name in e.cell.budget]
        return fmean(found) if found else None

    @property
    def train_seconds(self) -> float | None:
        """Mean over its trainings."""
        found = [e.cell.seconds for e in self.evaluations if e.cell.seconds is not None]
        return fmean(found) if found else None

    def metric(self, name: str) -> float | None:
        """Mean over seeds of another metric; None where a seed does not have it."""
        found = [e.metrics[name] for e in self.evaluations if name in e.metrics]
        return fmean(found) if len(found) == len(self.evaluations) else None


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


def make_blocks(
    index: Index, known: Mapping[str, KnownTask], book: ScoreBook, baseline: str | None = None
) -> list[Block]:
    """Everything that is finished; checkpoints along a training are left to curves.

    Args:
        index: Of the results.
        known: What is known of each task that was evaluated.
        book: Reads single scores.
        baseline: Algorithm to compare with.

    Raises:
        ConfigError: The baseline is nowhere.
    """
    by_setting: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in index.evaluations.values():
        if each.update is None:
            by_setting[each.setting.key].append(each)
    algorithms = {e.cell.algorithm for found in by_setting.values() for e in found}
    if baseline is not None and baseline not in algorithms:
        raise ConfigError(
            f"no finished cell of {baseline!r}{did_you_mean(baseline, algorithms)}",
            where="--baseline",
            do=f"one of {', '.join(sorted(algorithms))}",
        )
    blocks = [_block(found, known) for found in by_setting.values()]
    blocks.sort(key=lambda b: (b.task, b.split != "test", b.split, b.engine, b.setting))
    for block in blocks:
        if baseline is not None:
            _compare(block, baseline, known[block.task], book)
        block.notes += notes_of(block, index, known[block.task])
    return blocks


def _block(evaluations: Sequence[EvaluationEntry], known: Mapping[str, KnownTask]) -> Block:
    first, setting = evaluations[0], evaluations[0].setting
    of_recipe: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in evaluations:
        of_recipe[each.cell.recipe.key].append(each)
    groups = [sorted(found, key=lambda e: (e.cell.seed is not None, e.cell.seed)) for found in of_recipe.values()]
    task, metric = known[setting.value["task"]], first.primary["name"]
    higher = bool(first.primary["higher_is_better"])
    started_from = {short(g[0].cell.recipe.value["model"].get("cell", "")) for g in groups}
    rows = []
    for is_start in (True, False):
        some = [g for g in groups if (g[0].cell.folder.rpartition("/")[2] in started_from) is is_start]
        for found, label in zip(some, labels([g[0].cell.recipe.value for g in some]), strict=True):
            start = found[0].cell.start or found[0].cell.model
            said = f"the start {label}".strip() if is_start else label
            rows.append(Row(found[0].cell.algorithm, said, start, found, over_seeds(found), is_start))
    rows.sort(key=lambda r: (-r.estimate.value if higher else r.estimate.value, r.name))
    return Block(
        task=setting.value["task"],
        split=str((setting.value.get("eval") or {}).get("split", "")),
        engine=setting.value["engine"],
        setting=short(setting.key),
        values=setting.value,
        metric=metric,
        higher_is_better=higher,
        columns=task.columns_of(setting.value),
        rows=rows,
    )


def _compare(block: Block, baseline: str, known: KnownTask, book: ScoreBook) -> None:
    named = [r for r in block.rows if r.algorithm == baseline]
    theirs = [r for r in named if not r.is_start] or named  # continued training is what others compare with
    if len(theirs) != 1:
        why = f"it has {len(theirs)} rows here" if theirs else "it has no row here"
        block.notes.append(f"not compared with {baseline}: {why}")
        return
    block.baseline = baseline
    for row in block.rows:
        if row is theirs[0]:
            continue
        row.difference = against(row.evaluations, theirs[0].evaluations, known.scores.get(block.metric), book)
        if row.difference is None:
            block.notes.append(f"{row.name} is not compared with {baseline}: they share no seed")
