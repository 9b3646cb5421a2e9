"""Entries of the index of a results folder."""

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
    """A recipe or a setting as JSON that many entries share; equal texts are one object."""

    def __init__(self, key: str, text: str) -> None:
        self.key, self.text = key, text

    @cached_property
    def value(self) -> dict[str, Any]:
        """The parsed JSON."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True, slots=True)
class CellEntry:
    """A finished cell.

    Attributes:
        folder: Path below the results folder, ``task/algorithm/digest``; a full path if it was read on its own.
        recipe: ``config.json`` of the cell without the seed.
        seed: Training seed; None without training.
        model: Model as the user typed it.
        start: Label of the cell from which training starts.
        seconds: Training time; None without training.
        budget: ``updates``, ``tokens`` and ``episodes`` of the training; ``offered`` episodes that it could use.
        pass_tokens: Tokens of the training by kind of pass: policy, mismatched, reference, rollouts.
        parameters: Number of the model's parameters; None if the manifest does not tell.
        trained_parameters: Number of those that are trained; None like ``parameters``.
        hardware: The machine: graphics or other processors; empty like ``parameters``.
        version: Version of shiqbench that made the cell; empty like ``parameters``.
    """

    folder: str
    recipe: Text
    seed: int | None
    model: str
    start: str | None
    seconds: float | None
    budget: Mapping[str, int]
    pass_tokens: Mapping[str, int]
    parameters: int | None
    trained_parameters: int | None
    hardware: str
    version: str

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self.folder.split("/")[-2]

    @property
    def digest(self) -> str:
        """Train digest, 64 hex digits."""
        return digest({**self.recipe.value, "seed": self.seed})

    @property
    def train_tokens(self) -> int:
        """Tokens of all passes of the training."""
        return sum(self.pass_tokens.values())


@dataclass(frozen=True, slots=True)
class EvaluationEntry:
    """A finished evaluation.

    Attributes:
        folder: Path below the results folder, ``task/algorithm/digest/eval/digest``.
        cell: Cell whose weights were evaluated.
        setting: Setting of the evaluation; evaluations with the same setting may be compared.
        update: Training update after which the weights were saved; None for the final weights.
        primary: ``name``, ``value``, ``low``, ``high``, ``higher_is_better``.
        metrics: All metrics.
        seconds: Total time.
        reduced: True if the setting is not the official one.
        best: True if ``update`` was chosen on validation, by ``--keep best``.
    """

    folder: str
    cell: CellEntry
    setting: Text
    update: int | None
    primary: Mapping[str, Any]
    metrics: Mapping[str, float]
    seconds: float
    reduced: bool
    best: bool = False

    @property
    def task(self) -> str:
        """Name of the evaluated task."""
        return str(self.setting.value["task"])

    @property
    def engine(self) -> str:
        """Name and version of the engine."""
        return str(self.setting.value["engine"])

    @property
    def split(self) -> str:
        """Split of the task's data; empty if it has none."""
        return str((self.setting.value.get("eval") or {}).get("split") or "")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A folder without a result.

    Attributes:
        folder: Path below the results folder.
        cause: ``running``, ``partial``, or the cause of the failure in one word.
        what: Message of the failure.
    """

    folder: str
    cause: str
    what: str = ""


@dataclass
class Index:
    """The content of a results folder.

    Attributes:
        results: Results folder.
        cells: Finished cells by folder.
        evaluations: Finished evaluations of finished cells, by folder.
        unfinished: Running, partial, failed and damaged folders.
    """

    results: Path
    cells: dict[str, CellEntry] = field(default_factory=dict)
    evaluations: dict[str, EvaluationEntry] = field(default_factory=dict)
    unfinished: list[Unfinished] = field(default_factory=list)

    def check(self) -> Index:
        """Refuse damaged folders.

        Raises:
            CorruptCellError: A folder is damaged; the error names the first.
        """
        for each in self.unfinished:
            if each.cause == "corrupt":
                raise corrupt(self.results / each.folder, each.what)
        return self


def origins(evaluations: Iterable[EvaluationEntry]) -> Callable[[CellEntry], EvaluationEntry | None]:
    """Return a function from a cell to the evaluation, among these, of the weights from which its training started."""
    final = [e for e in evaluations if e.update is None]
    untrained = {canonical_json(e.cell.recipe.value["model"]): e for e in final if e.cell.recipe.value["train"] is None}
    by_digest = {e.cell.folder.rpartition("/")[2]: e for e in final}

    def of(cell: CellEntry) -> EvaluationEntry | None:
        model = cell.recipe.value["model"]
        return untrained.get(canonical_json(model)) or by_digest.get(short(model.get("cell", "")))

    return of
