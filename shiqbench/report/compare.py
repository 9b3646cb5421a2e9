"""Two evaluations of one setting, example by example."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import flatten, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_records
from shiqbench.base.suggest import did_you_mean
from shiqbench.base.words import listed
from shiqbench.report.estimates import SAME, against, over_seeds
from shiqbench.report.notes import notes_of
from shiqbench.report.rows import Block, Row
from shiqbench.report.side_by_side import FirstDifference, Message, first_difference, messages
from shiqbench.report.smallest import largest_of, smallest_of
from shiqbench.report.unequal import say_what_is_unequal
from shiqbench.store.index import Index
from shiqbench.store.labels import brief, differing, labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.plugin.record_view import RecordView
    from shiqbench.plugin.task import Record, Scores
    from shiqbench.report.estimates import Difference
    from shiqbench.report.known import KnownTask
    from shiqbench.report.ledger import Ledger
    from shiqbench.report.scores import ScoreBook
    from shiqbench.store.index import EvaluationEntry

MOST = 8  # differences of two settings that an error lists
DIGITS = 12  # after the point: differences that agree so far are equal
LONGEST_LABEL = 40  # characters; longer labels are in the table of differences only


@dataclass(frozen=True)
class RecordPair:
    """The records of one example in both evaluations.

    Attributes:
        title: What distinguishes it from other records of the example; empty if there are none.
        left: Messages of the first evaluation; empty if it lacks the record.
        right: Messages of the second.
    """

    title: str
    left: Sequence[Message]
    right: Sequence[Message]


@dataclass(frozen=True)
class Example:
    """An example in both evaluations.

    Attributes:
        name: Its name, the same in both.
        left: Its own value of the metric in the first evaluation; None if it is left out.
        right: The same in the second evaluation.
        why: The reason why it is left out; empty if it is compared.
        view: Which columns of the records are texts.
        records: Its records in the first and in the second evaluation.
    """

    name: str
    left: float | None
    right: float | None
    why: str
    view: RecordView
    records: tuple[Sequence[Record], Sequence[Record]]

    @property
    def difference(self) -> float:
        """First value less second value; NaN if there is none."""
        return math.nan if self.left is None or self.right is None else self.left - self.right

    @cached_property
    def pairs(self) -> list[RecordPair]:
        """Its records next to each other."""
        ordered = [sorted(side, key=self._place) for side in self.records]
        found = []
        for records in zip_longest(*ordered):
            named = next(r for r in records if r is not None)
            title = ", ".join(f"{k} {named[k]}" for k in (self.view.title, "repeat") if k in named)
            sides = ([] if r is None else messages(r, self.view) for r in records)
            found.append(RecordPair(title if max(map(len, ordered)) > 1 else "", *sides))
        return found

    def _place(self, record: Record) -> tuple[str, int]:
        return str(record.get(self.view.title, "")), record.get("repeat", 0)

    @property
    def differs(self) -> bool:
        """Whether any text differs."""
        return any(list(p.left) != list(p.right) for p in self.pairs)

    @cached_property
    def first(self) -> tuple[str, FirstDifference] | None:
        """Title of the first record whose texts differ, and the place where they do; None if all are equal."""
        found = ((p.title, first_difference(p.left, p.right)) for p in self.pairs)
        return next(((title, where) for title, where in found if where is not None), None)


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of one setting.

    Attributes:
        left: First evaluation, called A.
        right: Second evaluation, called B.
        block: Their table, with the row of each, the difference of A from B, and notes.
        differs: Dotted key of the recipe -> both values, for keys that both recipes have.
        in_one: Number of keys that only one of the two recipes has.
        examples: Examples; those that differ most come first, and those that are left out come last.
        known: Known facts about the task.
        why_not: The reason why they are not compared; empty if they are.
    """

    left: EvaluationEntry
    right: EvaluationEntry
    block: Block
    differs: Mapping[str, tuple[Any, Any]]
    in_one: int
    examples: Sequence[Example]
    known: KnownTask
    why_not: str = ""

    @property
    def difference(self) -> Difference | None:
        """A less B; None if they are not compared."""
        return self.block.rows[0].difference

    @property
    def scored(self) -> list[Example]:
        """The examples that are compared."""
        return [e for e in self.examples if not e.why]

    @property
    def texts(self) -> bool:
        """Whether any record has texts."""
        return any(p.left or p.right for e in self.examples for p in e.pairs)

    def higher(self, example: Example) -> str:
        """``A``, ``B`` or ``same``: whose value is higher in an example; ``-`` if it cannot be said."""
        d = example.difference
        return "-" if math.isnan(d) else "same" if abs(d) <= SAME else "A" if d > 0 else "B"

    def example(self, name: str) -> Example:
        """The example of this name.

        Raises:
            ConfigError: There is no such example.
        """
        by_name = {e.name: e for e in self.examples}
        if name in by_name:
            return by_name[name]
        raise ConfigError(
            f"no example {name!r}{did_you_mean(name, by_name)}",
            where="--example",
            do=f"one of {listed(list(by_name), 5)}" if by_name else "leave it out: there are no examples",
        )


def compare(
    left: EvaluationEntry, right: EvaluationEntry, known: KnownTask, book: ScoreBook, ledger: Ledger
) -> Comparison:
    """Compare two evaluations of one setting.

    Args:
        left: First evaluation.
        right: Second evaluation; it is subtracted.
        known: Known facts about their task.
        book: Reads the single scores; the folders of the evaluations are below its results folder, or full paths.
        ledger: Tells how both were tuned.

    Raises:
        ConfigError: They are the same evaluation, or of different settings.
        CorruptCellError: Records differ from what was written.
    """
    if left.folder == right.folder:
        raise ConfigError("both are the same evaluation", where=left.folder, do="name two different ones")
    if left.setting.key != right.setting.key:
        raise different_settings([left], [right])
    both, metric = [left, right], left.primary["name"]
    how = book.usable(both, columns := known.scores_of(metric))
    names = _names(left, right)
    rows = [
        Row(name, "", e.cell.start or e.cell.model, [e], over_seeds([e], how, book), _starts(e, other))
        for name, e, other in zip(names, both, reversed(both), strict=True)
    ]
    setting = left.setting.value
    block = Block(
        left.task, left.split, left.engine, short(left.setting.key),
        setting, metric, bool(left.primary["higher_is_better"]), known.columns_of(setting), how, rows, names[1],
    )  # fmt: skip
    say_what_is_unequal(block, ledger)
    why_not = ""
    if right.primary["name"] != metric:
        why_not = f"their metrics differ: {metric}, {right.primary['name']}"
    elif not all(math.isfinite(e.primary["value"]) for e in both) and how is None:
        why_not = "a value is not finite"
    else:
        rows[0].difference = against([left], [right], how, book)
        why_not = "" if rows[0].difference is not None else "they share no scored example"
    if how is None and columns is not None:
        block.notes.append(f"{metric} is not the mean of scores that the records hold")
    named = [(r.name, d) for r in rows if (d := r.difference) is not None]
    block.smallest = smallest_of(named, 1, largest=largest_of(r.estimate.value for r in rows))
    block.notes += notes_of(block, Index(Path()), known, same_seeds=False)
    recipes = [_recipe(e) for e in both]
    differs, keys = differing(*recipes), [flatten(r).keys() for r in recipes]
    shared = {key: values for key, values in differs.items() if key in keys[0] & keys[1]}
    examples = _examples(left, right, how, known.record_view, book)
    return Comparison(left, right, block, shared, len(differs) - len(shared), examples, known, why_not)


def _starts(evaluation: EvaluationEntry, other: EvaluationEntry) -> bool:
    """Whether the other cell's training starts from this cell."""
    return short(other.cell.recipe.value["model"].get("cell", "")) == Path(evaluation.cell.folder).name


def different_settings(left: Sequence[EvaluationEntry], right: Sequence[EvaluationEntry]) -> ConfigError:
    """The error for evaluations of different settings; it names the differences of the two that are most alike."""
    a, b = min(((a, b) for a in left for b in right), key=lambda p: len(_between(*p)))
    tasks = [a.task, b.task]
    fields = [f"{key}: {_brief(x)} and {_brief(y)}" for key, (x, y) in _between(a, b).items()]
    differ = listed(fields, MOST, "; ")
    return ConfigError(
        f"they are not evaluated under the same setting ({differ if tasks[0] == tasks[1] else ' and '.join(tasks)})",
        where=f"{a.folder}, {b.folder}",
        do="evaluate both with the same --engine and the same --set task.* and eval.*"
        if tasks[0] == tasks[1]
        else "compare evaluations of one task",
    )


def _brief(value: Any) -> str:
    return "-" if value is None or value == "" else brief(value)


def _between(a: EvaluationEntry, b: EvaluationEntry) -> dict[str, tuple[Any, Any]]:
    return differing(a.setting.value, b.setting.value)


def _recipe(evaluation: EvaluationEntry) -> dict[str, Any]:
    of_cell = {k: v for k, v in evaluation.cell.recipe.value.items() if k != "schema"}
    return {**of_cell, "seed": evaluation.cell.seed, "update": evaluation.update}


def _names(left: EvaluationEntry, right: EvaluationEntry) -> list[str]:
    """The algorithms; if both are of one algorithm, in few words what differs."""
    both = (left, right)
    said = [e.cell.algorithm for e in both]
    if said[0] == said[1]:
        for i, label in enumerate(labels([e.cell.recipe.value for e in both])):
            said[i] += f" {label}" if label and len(label) <= LONGEST_LABEL else ""
        for name, values in (("seed", [e.cell.seed for e in both]), ("update", [e.update for e in both])):
            if values[0] != values[1]:
                said = [f"{s} {name} {'last' if v is None else v}" for s, v in zip(said, values, strict=True)]
    return said if said[0] != said[1] else [f"{s} {letter}" for s, letter in zip(said, "AB", strict=True)]


def _examples(
    left: EvaluationEntry, right: EvaluationEntry, how: Scores | None, view: RecordView, book: ScoreBook
) -> list[Example]:
    unit = how.unit if how is not None else view.title
    records = [_by_unit(e, unit, how) for e in (left, right)]
    values: list[dict[str, float]] = [{}, {}]
    why: dict[str, str] = {}
    both = book.both([left], [right], how) if how is not None else None
    if both is not None:
        values = [{str(u): float(v) for u, v in side.per_unit().items()} for side in both]
        why = dict(both[0].left_out)
    elif how is not None:
        why = dict.fromkeys(records[0].keys() ^ records[1].keys(), "only one of the two has it")
    found = []
    for name in {**records[0], **records[1]}:
        scored = name in values[0]
        reason = "" if scored else why.get(name, "no score" if how is not None else "the task names no single scores")
        mine, theirs = (side.get(name) for side in values)
        found.append(Example(name, mine, theirs, reason, view, (records[0].get(name, []), records[1].get(name, []))))
    return sorted(found, key=_order)


def _order(example: Example) -> tuple[bool, float, bool]:
    d = abs(example.difference)
    return bool(example.why), math.inf if math.isnan(d) else -round(d, DIGITS), not example.differs


def _by_unit(evaluation: EvaluationEntry, unit: str, how: Scores | None) -> dict[str, list[Record]]:
    """Records by example, in their order; records that belong to other metrics are left out."""
    found: dict[str, list[Record]] = defaultdict(list)
    for number, record in enumerate(read_records(Path(evaluation.folder))):
        if how is None or all(record[column] == value for column, value in how.only.items()):
            found[str(record.get(unit, number))].append(record)
    return dict(found)
