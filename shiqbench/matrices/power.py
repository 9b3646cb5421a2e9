"""What a matrix can find, before it runs: the smallest difference of each task, from similar finished evaluations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ShiqbenchError
from shiqbench.report.estimates import against, as_if_unrelated
from shiqbench.report.known import known_tasks
from shiqbench.report.numbers import short_number
from shiqbench.report.scores import ScoreBook
from shiqbench.report.smallest import smallest
from shiqbench.stats.power import pooled
from shiqbench.stats.two_way import LEAST_SEEDS
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.matrices.plan import MatrixPlan
    from shiqbench.planning.plan import RunPlan
    from shiqbench.plugin.task import Scores
    from shiqbench.report.estimates import Difference
    from shiqbench.report.smallest import Smallest
    from shiqbench.store.index import EvaluationEntry

ENOUGH = 5  # at most so many finished recipes of one setting are read


@dataclass(frozen=True)
class Outlook:
    """What the planned cells can find on one task.

    Attributes:
        task: Name of the evaluated task, as typed.
        setting: First digits of the setting's digest.
        smallest: The smallest difference; None if it is unknown.
        source: The finished recipes that it is estimated from, or the reason why it is unknown.
        points: Whether the metric is a share, whose differences are said in points of a hundred.
    """

    task: str
    setting: str
    smallest: Smallest | None
    source: str
    points: bool = False

    def line(self) -> str:
        """One line for a terminal."""
        if self.smallest is None:
            return f"{self.task}: smallest difference that can be found is unknown: {self.source}"
        number = (lambda v: f"{100 * v:.2g} points") if self.points else short_number
        return (
            f"{self.task}: smallest difference that can be found ({self.smallest.test}): "
            f"{self.smallest.text(number)}; {self.source}"
        )

    def as_json(self) -> dict[str, Any]:
        """The same as values."""
        numbers = self.smallest.as_json() if self.smallest is not None else None
        return {"task": self.task, "setting": self.setting, "smallest_difference": numbers, "source": self.source}


def outlooks(matrix: MatrixPlan) -> list[Outlook]:
    """Estimate what the final cells of a matrix can find: one outlook per task and setting."""
    planned: dict[tuple[str, str], list[tuple[RunPlan, int]]] = defaultdict(list)
    for family, cells in zip(matrix.final.planned, matrix.final.cells, strict=True):
        for plan in (family.plan, *family.plan.also):
            planned[plan.name, digest(plan.setting)].append((plan, len(cells)))
    index = read_index(matrix.results) if matrix.results.is_dir() else None
    finished = [e for e in index.evaluations.values() if e.update is None] if index is not None else []
    book = ScoreBook(matrix.results)
    return [_outlook(name, key, plans, finished, book) for (name, key), plans in planned.items()]


def _outlook(
    name: str, key: str, plans: Sequence[tuple[RunPlan, int]], finished: Sequence[EvaluationEntry], book: ScoreBook
) -> Outlook:
    plan = plans[0][0]
    of_setting: dict[tuple[str, str], list[EvaluationEntry]] = defaultdict(list)
    for each in finished:
        if each.task == plan.setting["task"]:
            of_setting[each.setting.key, each.primary["name"]].append(each)
    if not of_setting:
        why = "no finished evaluation of this task in the results folder; run one cell first"
        return Outlook(name, short(key), None, why)
    same = [e for (setting, _), e in of_setting.items() if setting == key]
    found = max(same or of_setting.values(), key=len)
    metric = found[0].primary["name"]
    try:
        how = book.usable(found, known_tasks(found, plan.found)[plan.setting["task"]].scores_of(metric))
        rows = _rows(found)
        differences = _differences(rows, how, book)
    except ShiqbenchError as error:
        return Outlook(name, short(key), None, error.line())
    known = [d.components for d in differences if d.components is not None]
    if how is None or not known:
        return Outlook(name, short(key), None, f"finished evaluations give no variance over examples of {metric}")
    c, seeds = pooled(known), min((k for p, k in plans if p.cell.train is not None), default=1)
    names = ", ".join(dict.fromkeys(row[0].cell.algorithm for row in rows))
    source = f"estimated from {names}, finished under {'the same' if same else 'another'} setting"
    if len(rows) == 1:
        source += ", as if the rows shared nothing, which is cautious"
    if c.seeds is None and seeds >= LEAST_SEEDS:
        seeds, source = 1, f"{source}; how much seeds vary is unknown: no finished recipe has two seeds"
    examples = min(d.units or 0 for d in differences)
    least = smallest(c, seeds, examples, max(1, len(plans) - 1))
    return Outlook(name, short(key), least, source if least else f"finished rows of {names} are equal", how.share)


def _rows(found: Sequence[EvaluationEntry]) -> list[list[EvaluationEntry]]:
    """The recipes with most seeds; only if nothing is trained, the untrained."""
    of_recipe: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in found:
        of_recipe[each.cell.recipe.key].append(each)
    trained = [row for row in of_recipe.values() if row[0].cell.seed is not None]
    return sorted(trained or of_recipe.values(), key=len, reverse=True)[:ENOUGH]


def _differences(rows: Sequence[Sequence[EvaluationEntry]], how: Scores | None, book: ScoreBook) -> list[Difference]:
    if how is None:
        return []
    if len(rows) == 1:
        return [as_if_unrelated(rows[0], how, book)]
    return [d for one, other in pairwise(rows) if (d := against(one, other, how, book)) is not None]
