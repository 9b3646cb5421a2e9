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
from shiqbench.report.smallest import largest_of, smallest_of
from shiqbench.store.index import read_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.matrices.plan import MatrixPlan
    from shiqbench.planning.plan import RunPlan
    from shiqbench.plugin.task import Scores
    from shiqbench.report.estimates import Difference
    from shiqbench.report.smallest import SmallestOfRows
    from shiqbench.store.index import EvaluationEntry

ENOUGH = 5  # at most so many finished recipes of one setting are read


@dataclass(frozen=True)
class Outlook:
    """What the planned cells can find on one task.

    Attributes:
        task: Name of the evaluated task, as typed.
        setting: First digits of the setting's digest.
        smallest: The smallest difference of each finished pair; None if it is unknown.
        source: The finished recipes that it is estimated from, or the reason why it is unknown.
        points: Whether the metric is a share, whose differences are said in points of a hundred.
    """

    task: str
    setting: str
    smallest: SmallestOfRows | None
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


def outlooks(matrix: MatrixPlan, wished: float | None = None) -> list[Outlook]:
    """Estimate what the final cells of a matrix can find: one outlook per task and setting.

    Args:
        matrix: The matrix.
        wished: The difference of which it is said what it needs, in the metric's unit; None takes a round one.
    """
    planned: dict[tuple[str, str], list[tuple[RunPlan, int]]] = defaultdict(list)
    for family, cells in zip(matrix.final.planned, matrix.final.cells, strict=True):
        for plan in (family.plan, *family.plan.also):
            planned[plan.name, digest(plan.setting)].append((plan, len(cells)))
    index = read_index(matrix.results) if matrix.results.is_dir() else None
    finished = [e for e in index.evaluations.values() if e.update is None] if index is not None else []
    book = ScoreBook(matrix.results)
    return [_outlook(name, key, plans, finished, book, wished) for (name, key), plans in planned.items()]


def _outlook(
    name: str,
    key: str,
    plans: Sequence[tuple[RunPlan, int]],
    finished: Sequence[EvaluationEntry],
    book: ScoreBook,
    wished: float | None,
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
    if how is None or all(d.components is None for _, d in differences):
        return Outlook(name, short(key), None, f"finished evaluations give no variance over examples of {metric}")
    seeds = min((k for p, k in plans if p.cell.train is not None), default=1)
    names = ", ".join(dict.fromkeys(row[0].cell.algorithm for row in rows))
    source = f"estimated from {names}, finished under {'the same' if same else 'another'} setting"
    if len(rows) == 1:
        source += ", as if the rows shared nothing, which is cautious"
    largest = largest_of(float(e.primary["value"]) for e in found)
    least = smallest_of(differences, max(1, len(plans) - 1), largest=largest, wished=wished, seeds=seeds)
    why_not = f"scores of finished rows of {names} do not vary"
    return Outlook(name, short(key), least, source if least else why_not, bool(how.share))


def _rows(found: Sequence[EvaluationEntry]) -> list[list[EvaluationEntry]]:
    """The recipes with most seeds; only if nothing is trained, the untrained."""
    of_recipe: dict[str, list[EvaluationEntry]] = defaultdict(list)
    for each in found:
        of_recipe[each.cell.recipe.key].append(each)
    trained = [row for row in of_recipe.values() if row[0].cell.seed is not None]
    return sorted(trained or of_recipe.values(), key=len, reverse=True)[:ENOUGH]


def _differences(
    rows: Sequence[Sequence[EvaluationEntry]], how: Scores | None, book: ScoreBook
) -> list[tuple[str, Difference]]:
    """Differences with the names of their pairs."""
    if how is None:
        return []
    if len(rows) == 1:
        return [(rows[0][0].cell.algorithm, as_if_unrelated(rows[0], how, book))]
    return [
        (f"{one[0].cell.algorithm} and {other[0].cell.algorithm}", d)
        for one, other in pairwise(rows)
        if (d := against(one, other, how, book)) is not None
    ]
