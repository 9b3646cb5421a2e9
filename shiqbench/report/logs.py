"""``train.jsonl`` of finished cells: what a training measured, and what it had spent, after each logged update."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import from_json

from shiqbench.base.errors import CorruptCellError
from shiqbench.base.words import listed
from shiqbench.store.cell import corrupt
from shiqbench.store.index.reading import checked_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shiqbench.store.index import CellEntry

LOG = "train.jsonl"
MOST = 5  # unread logs that are listed one by one
AXES = {"updates": "updates", "tokens": "tokens of all passes", "seconds": "seconds of training"}
SPENT = ("update", "tokens", "seconds")  # keys of a line that are no measured quantity


@dataclass(frozen=True)
class TrainingLog:
    """The log of a cell's training, with an entry per logged update.

    Attributes:
        updates: Numbers of updates.
        tokens: Tokens of the policy's passes up to there.
        train_tokens: Tokens of all passes up to there: the policy's, times the ratio of both at the end.
        seconds: Seconds of training up to there.
        values: Measured quantities; NaN where a line does not have it.
    """

    updates: NDArray[np.int64]
    tokens: NDArray[np.float64]
    train_tokens: NDArray[np.float64]
    seconds: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]

    def over(self, axis: str) -> NDArray[Any]:
        """What the entries have on an axis: ``updates``, ``tokens`` (of all passes) or ``seconds``."""
        return {"updates": self.updates, "tokens": self.train_tokens, "seconds": self.seconds}[axis]

    def at(self, spent: NDArray[Any], updates: Sequence[int]) -> list[float]:
        """What is spent after some updates; between two logged updates it grows evenly."""
        found: list[float] = np.interp(updates, np.append(0, self.updates), np.append(0.0, spent)).tolist()
        return found

    def spent(self, update: int) -> dict[str, float]:
        """Tokens of the policy's passes and of all, and seconds, after an update."""
        tokens, train_tokens, seconds = (
            self.at(x, [update])[0] for x in (self.tokens, self.train_tokens, self.seconds)
        )
        return {"tokens": round(tokens), "train_tokens": train_tokens, "seconds": seconds}


def read_log(results: Path, cell: CellEntry) -> TrainingLog:
    """Read the log of a cell.

    Raises:
        CorruptCellError: It differs from what was written, or is not there.
    """
    try:
        lines = [from_json(line) for line in checked_file(results / cell.folder, LOG).splitlines()]
        parts = _parts(lines)
        updates = sorted(set.intersection(*(set(part) for part in parts)))
        names = dict.fromkeys(k for part in parts for u in updates for k, v in part[u].items() if _is_number(v))
        sums = {name: np.array([sum(p[u].get(name, 0.0) for p in parts) for u in updates]) for name in SPENT[1:]}
        values = {
            name: np.array([fmean(p[u].get(name, np.nan) for p in parts) for u in updates])
            for name in names
            if name not in SPENT
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise corrupt(results / cell.folder, f"{LOG} cannot be read: {error}") from error
    policy = cell.pass_tokens.get("policy", 0)
    ratio = cell.train_tokens / policy if policy else 1.0
    return TrainingLog(np.array(updates), sums["tokens"], sums["tokens"] * ratio, sums["seconds"], values)


def _parts(lines: Sequence[Mapping[str, Any]]) -> list[dict[int, dict[str, Any]]]:
    """Lines by update, with the seconds up to there; trainings of several instances follow each other in one log."""
    parts: list[dict[int, dict[str, Any]]] = [{}]
    seconds, last = 0.0, 0
    for line in lines:
        if line["update"] <= last:
            parts.append({})
            seconds = 0.0
        last = line["update"]
        seconds += line.get("seconds", 0.0)
        parts[-1][last] = {**line, "seconds": seconds}
    return parts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class LogBook:
    """Reads the logs of cells, each once, and notes those that cannot be read.

    Args:
        results: Results folder.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read: dict[str, TrainingLog | None] = {}
        self.unread: dict[str, str] = {}

    def of(self, cell: CellEntry) -> TrainingLog | None:
        """The log of a cell; None if it cannot be read, which is then in ``unread``: folder -> reason."""
        if cell.folder not in self._read:
            try:
                self._read[cell.folder] = read_log(self._results, cell)
            except CorruptCellError as error:
                self._read[cell.folder], self.unread[cell.folder] = None, error.what
        return self._read[cell.folder]

    def at(self, cell: CellEntry, axis: str, updates: Sequence[int]) -> list[float] | None:
        """Place updates of a cell on an axis; None if that needs a log that cannot be read."""
        if axis == "updates":
            return [float(u) for u in updates]
        log = self.of(cell)
        return None if log is None else log.at(log.over(axis), updates)


def unread_notes(said: Sequence[str]) -> list[str]:
    """One note about the cells whose log cannot be read: the first of them in full; none if there are none."""
    return [f"log of training cannot be used: {listed(said, MOST, '; ')}"] if said else []
