"""Normalised scores over tasks, and what is left out of them.

Each task has one block. Its untrained row has the normalised score 0, the metric's top (``Scores.top``) has 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from shiqbench.base.errors import CorruptCellError
from shiqbench.report.estimates import SAME
from shiqbench.report.numbers import short_number
from shiqbench.stats.aggregate import normalised
from shiqbench.stats.intervals import LEAST_EXAMPLES
from shiqbench.stats.ranks import rank_test, ranks
from shiqbench.stats.two_way import LEAST_SEEDS, Variance, pseudo_values, variance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shiqbench.plugin.task import Scores
    from shiqbench.report.known import KnownTask
    from shiqbench.report.rows import Block, Row
    from shiqbench.report.scores import ScoreBook
    from shiqbench.stats.aggregate import Array
    from shiqbench.stats.ranks import Ranks

LEAST_TASKS = 2  # with fewer there is nothing to aggregate
LEAST_ROWS = 2  # trained rows: with fewer there is nothing to compare
DIGITS = 12  # of a normalised score; more are noise


@dataclass(frozen=True)
class Normalised:
    """The normalised scores of a row in one task.

    Attributes:
        row: The row.
        scores: By seed and example: pseudo-values, whose mean over examples is the seed's normalised score.
    """

    row: Row
    scores: Array

    @property
    def of_seeds(self) -> list[float]:
        """The normalised score of each seed."""
        return [float(v) for v in self.scores.mean(-1)]

    def spread(self, seeds: int) -> Variance | None:
        """Variance of the mean over the first seeds; None with too few examples."""
        return variance(self.scores[:seeds]) if self.scores.shape[-1] >= LEAST_EXAMPLES else None


@dataclass(frozen=True)
class TaskScores:
    """The normalised scores of one task.

    Attributes:
        block: The task's block.
        zero: Value of the untrained row.
        top: Value of the metric that counts as 1.
        rows: Normalised scores by name of the row, which names the start too where rows have one name.
    """

    block: Block
    zero: float
    top: float
    rows: Mapping[str, Normalised]

    @property
    def name(self) -> str:
        """Task and metric."""
        return f"{self.block.task} {self.block.metric}"

    @property
    def ranks(self) -> Mapping[str, float]:
        """Ranks of all its rows by name; 1 is the best."""
        means = np.array([[found.scores.mean()] for found in self.rows.values()]).round(DIGITS)
        return dict(zip(self.rows, ranks(means)[:, 0].tolist(), strict=True))


@dataclass(frozen=True)
class Aggregate:
    """What a report says over tasks.

    Attributes:
        tasks: The tasks that are used; empty if fewer than two can be.
        names: Names of the rows that all these tasks have with enough seeds, best mean first.
        baseline: Name of the baseline's row; None without one.
        left_out: What is not used, and why, one line each.
        why_not: The reason why nothing is said over tasks: then there are no names; empty if there is none.
        scores: Normalised scores by name of the row: seeds x tasks. All tasks have as many seeds as the task with the
            fewest.
    """

    tasks: Sequence[TaskScores]
    names: Sequence[str]
    baseline: str | None
    left_out: Sequence[str]
    scores: Mapping[str, Array] = field(default_factory=dict)
    why_not: str = ""

    @cached_property
    def means(self) -> Array:
        """Means over seeds: rows x tasks, without digits that are noise, so that equal rows share their rank."""
        return np.array([self.scores[n].mean(0) for n in self.names]).reshape(-1, len(self.tasks)).round(DIGITS)

    @cached_property
    def ranks(self) -> Array:
        """Rows x tasks; 1 is the best."""
        return ranks(self.means)

    @cached_property
    def test(self) -> Ranks | None:
        """The test of ranks; None with too few rows or tasks."""
        return rank_test(self.means)

    def trained(self, name: str) -> bool:
        """Whether a row is trained in every task."""
        return all(t.rows[name].row.trained for t in self.tasks)

    def spread(self, name: str) -> Variance | None:
        """Variance of the mean of each task, over seeds and examples; None if a task has too few examples."""
        found = [t.rows[name].spread(len(self.scores[name])) for t in self.tasks]
        known = [f for f in found if f is not None]
        if len(known) < len(found):
            return None
        return Variance(np.array([float(f.value) for f in known]), np.array([float(f.df) for f in known]))


def aggregate(
    blocks: Sequence[Block], known: Mapping[str, KnownTask], book: ScoreBook, baseline: str | None = None
) -> Aggregate | None:
    """Normalise the scores of all tasks and rank the rows; None if the results hold one task.

    Args:
        blocks: Blocks of the report.
        known: Known facts about each task.
        book: Reads single scores.
        baseline: Algorithm to compare the others with.
    """
    of_task: dict[tuple[str, str], list[Block]] = defaultdict(list)
    for block in blocks:
        if block.split in ("", "test"):
            of_task[block.task, block.metric].append(block)
    if len(of_task) < LEAST_TASKS:
        return None
    tasks, left_out = [], []
    for found in of_task.values():
        first, *others = sorted(found, key=lambda b: -len(b.rows))
        left_out += [f"{b.title}: another block of this task has more rows" for b in others]
        task = _task_scores(first, known[first.task].scores_of(first.metric), book)
        if isinstance(task, str):
            left_out.append(f"{first.task} {first.metric}: {task}")
        else:
            tasks.append(task)
    if len(tasks) < LEAST_TASKS:
        return Aggregate([], [], None, left_out, why_not="; ".join(left_out))
    names = [n for n in tasks[0].rows if all(n in t.rows for t in tasks)]
    few = [n for n in names if any(0 < len(t.rows[n].row.seeds) < LEAST_SEEDS for t in tasks)]
    trained = [n for n in names if all(t.rows[n].row.trained for t in tasks)]
    if len(set(trained) - set(few)) < LEAST_ROWS:
        why_not = f"only {trained[0]} is in all tasks" if trained else "no trained row is in all tasks"
        if len(trained) >= LEAST_ROWS:
            why_not = f"fewer than {LEAST_SEEDS} seeds in a task ({', '.join(n for n in trained if n in few)})"
        return Aggregate(tasks, [], None, left_out, why_not=why_not)
    left_out += [f"{', '.join(few)}: fewer than {LEAST_SEEDS} seeds in a task"] * bool(few)
    absent: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(n for t in tasks for n in t.rows if n not in names):
        absent[", ".join(t.name for t in tasks if name not in t.rows)].append(name)
    left_out += [f"{', '.join(found)}: not in {where}" for where, found in absent.items()]
    names = [n for n in names if n not in few]
    scores = {name: _rectangle([t.rows[name].of_seeds for t in tasks]) for name in names}
    names.sort(key=lambda n: (-float(scores[n].mean()), n))
    more: dict[int, list[str]] = defaultdict(list)
    for name in names:
        if any(len(t.rows[name].of_seeds) > len(scores[name]) for t in tasks):
            more[len(scores[name])].append(name)
    left_out += [f"{', '.join(n)}: seeds beyond {k} per task, as one task has only {k}" for k, n in more.items()]
    chosen = _baseline(names, tasks, baseline, left_out)
    return Aggregate(tasks, names, chosen, left_out, scores)


def _task_scores(block: Block, how: Scores | None, book: ScoreBook) -> TaskScores | str:
    """The normalised scores of a block, or the reason why there are none."""
    if how is None or how.top is None:
        return "its task names no top of the metric, which would be 1"
    if block.how is None:
        return "the metric is not the mean of scores that the records hold"
    bases = [r for r in block.rows if not r.trained]
    if len(bases) != 1:
        return f"{len(bases) or 'no'} untrained rows, and one would be 0"
    zero = bases[0].estimate.value
    if not math.isfinite(zero) or (how.top - zero) * (1 if block.higher_is_better else -1) <= SAME:
        return f"the untrained row is at the top already ({short_number(zero)})"
    rows = {}
    for name, row in zip(block.names, block.rows, strict=True):
        if row is bases[0]:
            rows[name] = Normalised(row, np.zeros((1, row.estimate.examples or 1)))
            continue
        try:
            both = book.both(row.evaluations, bases[0].evaluations, how)
        except CorruptCellError:
            continue
        if both is None or both[0].value.empty or not math.isfinite(row.estimate.value):
            continue
        mine, base = (pseudo_values(side.value.to_numpy(), side.of.to_numpy()) for side in both)
        rows[name] = Normalised(row, normalised(mine, base, how.top))
    return TaskScores(block, zero, how.top, rows)


def _rectangle(of_tasks: Sequence[Sequence[float]]) -> Array:
    """Seeds x tasks: the first seeds of each task, as many as all tasks have."""
    least = min(map(len, of_tasks))
    return np.array([values[:least] for values in of_tasks]).T


def _baseline(
    names: Iterable[str], tasks: Sequence[TaskScores], baseline: str | None, left_out: list[str]
) -> str | None:
    """The name of the baseline's row, which is not the start if it was continued."""
    if baseline is None:
        return None
    named = [n for n in names if tasks[0].rows[n].row.is_named(baseline)]
    chosen = [n for n in named if not any(t.rows[n].row.is_start for t in tasks)] or named
    if len(chosen) == 1:
        return chosen[0]
    left_out.append(f"probability of improvement over {baseline}: it has {len(chosen) or 'no'} rows in all tasks")
    return None
