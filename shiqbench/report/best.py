"""The weights that validation has chosen (``--keep best``), next to the final weights of the same cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.report.cells import text_frame
from shiqbench.report.estimates import over_seeds
from shiqbench.report.numbers import in_column
from shiqbench.report.rows import TextTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shiqbench.report.known import KnownTask
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import EvaluationEntry

NOTE = (
    "each update is the one with the best {metric} on validation, of those that --eval-every evaluated, of equal ones "
    "the first; the values in this table are {where}; the tables that compare algorithms are of final weights"
)


def best_tables(
    evaluations: Iterable[EvaluationEntry], known: Mapping[str, KnownTask], book: ScoreBook
) -> list[TextTable]:
    """Make a table for every setting under which chosen weights are evaluated: one line per cell."""
    of_setting: dict[str, list[EvaluationEntry]] = {}
    final: dict[tuple[str, str], EvaluationEntry] = {}
    for each in evaluations:
        if each.best:
            of_setting.setdefault(each.setting.key, []).append(each)
        elif each.update is None:
            final[each.setting.key, each.cell.folder] = each
    found = []
    for key, chosen in of_setting.items():
        chosen.sort(key=lambda e: e.folder)
        found.append(_table(chosen, [final.get((key, e.cell.folder)) for e in chosen], known, book))
    return found


def _table(
    chosen: Sequence[EvaluationEntry],
    final: Sequence[EvaluationEntry | None],
    known: Mapping[str, KnownTask],
    book: ScoreBook,
) -> TextTable:
    first = chosen[0]
    metric, how = first.primary["name"], known[first.task].scores_of(first.primary["name"])

    def values(of: Sequence[EvaluationEntry | None]) -> list[str]:
        found = [over_seeds([e], book.usable([e], how), book) for e in of if e is not None]
        texts = iter(in_column([(e.value, e.low, e.high) for e in found]))
        return ["-" if e is None else next(texts) for e in of]

    head = ["cell", "seed", "chosen update", f"{metric}, chosen weights [95 %]", f"{metric}, final weights [95 %]"]
    cells = ["/".join(e.cell.folder.split("/")[-2:]) for e in chosen]
    rows = [
        [cell, str(e.cell.seed), str(e.update), best, last]
        for cell, e, best, last in zip(cells, chosen, values(chosen), values(final), strict=True)
    ]
    where = f"on {first.split}" if first.split else "of the evaluation"
    title = f"{first.task} {where}: weights chosen on validation, and final weights"
    return TextTable(title, text_frame(head, rows), [NOTE.format(metric=metric, where=where)])
