"""What an index tells of a results folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, digest, short
from shiqbench.store.cell import corrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


class Text:
    """A recipe or a setting that many entries share, as JSON; equal texts are one object."""

    def __init__(self, key: str, text: str) -> None:
        self.key, self.text = key, text

    @cached_property
    def value(self) -> dict[str, Any]:
        """Parsed."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True, slots=True)
class CellEntry:
    """A finished cell.

    Attributes:
        folder: Below the results folder, ``task/algorithm/digest``.
        recipe: Its ``config.json`` without the seed.
        seed: Of training; None where nothing is trained.
        model: As typed.
        start: Label of the cell that it starts from.
        seconds: Training; None where nothing is trained.
        budget: What training spent: ``updates``, ``tokens``.
    """

    folder: str
    recipe: Text
    seed: int | None
    model: str
    start: str | None
    seconds: float | None
    budget: Mapping[str, int]

    @property
    def algorithm(self) -> str:
        """Its name."""
        return self.folder.split("/")[1]

    @property
    def digest(self) -> str:
        """Its train digest, 64 hex digits."""
        return digest({**self.recipe.value, "seed": self.seed})


@dataclass(frozen=True, slots=True)
class EvaluationEntry:
    """A finished evaluation.

    Attributes:
        folder: Below the results folder, ``task/algorithm/digest/eval/digest``.
        cell: Whose weights.
        setting: What evaluations share that may be compared.
        update: After which update of training; None for the final weights.
        primary: ``name``, ``value``, ``low``, ``high``, ``higher_is_better``.
        metrics: Every metric.
        seconds: The whole of it.
        reduced: Not the official setting.
    """

    folder: str
    cell: CellEntry
    setting: Text
    update: int | None
    primary: Mapping[str, Any]
    metrics: Mapping[str, float]
    seconds: float
    reduced: bool


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A folder without a result.

    Attributes:
        folder: Below the results folder.
        cause: ``running``, ``partial``, or why it failed, in one word.
        what: The line of the failure.
    """

    folder: str
    cause: str
    what: str = ""


@dataclass
class Index:
    """A results folder.

    Attributes:
        results: The folder.
        cells: By folder.
        evaluations: Of finished cells, by folder.
        unfinished: Running, partial, failed and damaged ones.
    """

    results: Path
    cells: dict[str, CellEntry] = field(default_factory=dict)
    evaluations: dict[str, EvaluationEntry] = field(default_factory=dict)
    unfinished: list[Unfinished] = field(default_factory=list)

    def check(self) -> Index:
        """Refuse damaged folders.

        Raises:
            CorruptCellError: Of the first.
        """
        for each in self.unfinished:
            if each.cause == "corrupt":
                raise corrupt(self.results / each.folder, each.what)
        return self


def origins(evaluations: Iterable[EvaluationEntry]) -> Callable[[CellEntry], EvaluationEntry | None]:
    """A function from a cell to the evaluation, among these, of the weights that its training started from."""
    final = [e for e in evaluations if e.update is None]
    untrained = {canonical_json(e.cell.recipe.value["model"]): e for e in final if e.cell.recipe.value["train"] is None}
    by_digest = {e.cell.folder.rpartition("/")[2]: e for e in final}

    def of(cell: CellEntry) -> EvaluationEntry | None:
        model = cell.recipe.value["model"]
        return untrained.get(canonical_json(model)) or by_digest.get(short(model.get("cell", "")))

    return of
