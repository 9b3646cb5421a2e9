"""Scores of single examples, from the records of evaluations."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shiqbench.base.digest import canonical_json
from shiqbench.base.errors import CorruptCellError
from shiqbench.store.cell import corrupt
from shiqbench.store.index.kept import derived
from shiqbench.store.index.reading import checked_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from shiqbench.plugin.task import Scores
    from shiqbench.store.index import EvaluationEntry


NOT_FINITE = "no finite score"


@dataclass(frozen=True)
class UnitScores:
    """Scores of one row: a line per seed, a column per unit that every seed has scored.

    Attributes:
        value: Sum of the scores of a unit's records.
        of: The whole that the score is a part of; a seed's metric is the sum of ``value`` over the sum of ``of``.
        left_out: Unit -> the reason why it is not here: in some evaluation, one of its records has no score.
    """

    value: pd.DataFrame
    of: pd.DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)

    def per_unit(self) -> pd.Series:
        """The mean over seeds of each unit's own metric."""
        return (self.value / self.of).mean(axis=0)


class _Sums(NamedTuple):
    """Scores of one evaluation: the sums of each unit, and why a unit lacks some (position -> why, any scored).

    ``trials``: whether all entries are 0 or 1.
    """

    units: pd.Index
    value: NDArray[np.float64]
    of: NDArray[np.float64]
    flaws: Mapping[int, tuple[str, bool]]
    trials: bool


class ScoreBook:
    """Reads the records of evaluations, each once; the cache folder keeps the scores until DONE changes.

    Args:
        results: Results folder.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read: dict[tuple[str, str], _Sums] = {}

    def of(self, evaluations: Sequence[EvaluationEntry], how: Scores) -> UnitScores:
        """Read the scores of a row, of the units that all its evaluations have scored.

        Args:
            evaluations: Evaluations, one per seed.
            how: Columns of the scores.

        Raises:
            CorruptCellError: Records differ from what was written, or two seeds have different units.
        """
        import pandas as pd

        found = [self._one(e.folder, how) for e in evaluations]
        units = found[0].units
        for evaluation, sums in zip(evaluations, found, strict=True):
            if not sums.units.equals(units):
                raise corrupt(
                    self._results / evaluation.folder, f"its examples differ from those of {evaluations[0].folder}"
                )
        flawed = sorted({at for sums in found for at in sums.flaws})
        why = {at: max(sums.flaws[at][0] for sums in found if at in sums.flaws) for at in flawed}
        # What no evaluation has scored, such as a prompt that is too long for the model, is no example.
        scored = [at for at in flawed if any(s.flaws.get(at, ("", True))[1] for s in found) or why[at] == NOT_FINITE]
        seeds, left = (
            pd.Index([e.cell.seed for e in evaluations], name="seed"),
            np.delete(np.arange(len(units)), flawed),
        )
        value, of = (
            pd.DataFrame(np.stack([getattr(sums, name)[left] for sums in found]), seeds, units[left])
            for name in ("value", "of")
        )
        return UnitScores(value, of, {str(units[at]): why[at] for at in scored})

    def both(
        self, mine: Sequence[EvaluationEntry], theirs: Sequence[EvaluationEntry], how: Scores
    ) -> tuple[UnitScores, UnitScores] | None:
        """Read the scores of two rows, of the units that all evaluations of both have scored.

        Returns:
            The scores of each row; None if the two rows have different units.

        Raises:
            CorruptCellError: Records differ from what was written, or two seeds of one row have different units.
        """
        if not self._one(mine[0].folder, how).units.equals(self._one(theirs[0].folder, how).units):
            return None
        found, n = self.of([*mine, *theirs], how), len(mine)
        one, other = (UnitScores(found.value[at], found.of[at], found.left_out) for at in (slice(n), slice(n, None)))
        return one, other

    def usable(self, evaluations: Sequence[EvaluationEntry], how: Scores | None) -> Scores | None:
        """``how``, or None if these scores do not make the metric: scores in JSON may be aggregated in any way.

        With a key, or where the task leaves it open, whether they are a share follows from them.
        It reads the scores of all these evaluations together, which is faster than one by one.
        """
        if how is None:
            return None
        self._load([e.folder for e in evaluations], how)
        if how.key is None and how.share is not None:
            return how
        try:
            if how.key is not None and not all(self._gives(e, how) for e in evaluations):
                return None
            return replace(how, share=all(self._one(e.folder, how).trials for e in evaluations))
        except CorruptCellError:
            return how  # who reads the scores says so

    def _gives(self, evaluation: EvaluationEntry, how: Scores) -> bool:
        if not math.isfinite(evaluation.primary["value"]):
            return True  # it says nothing about the aggregation
        found = self._one(evaluation.folder, how)
        value, of = float(found.value.sum()), float(found.of.sum())
        return of > 0 and math.isclose(value / of, evaluation.primary["value"], rel_tol=1e-6, abs_tol=1e-9)

    def _one(self, folder: str, how: Scores) -> _Sums:
        known = folder, _name(how)
        if known not in self._read:
            self._load([folder], how)
        if known not in self._read:  # it is damaged: say how
            self._read[known] = _unpacked(_packed(self._results / folder, how))
        return self._read[known]

    def _load(self, folders: Sequence[str], how: Scores) -> None:
        name = _name(how)
        new = [f for f in folders if (f, name) not in self._read]
        for folder, content in derived(self._results, new, name, lambda f: _packed(self._results / f, how)):
            self._read[folder, name] = _unpacked(content)


def _name(how: Scores) -> str:
    parts = [how.unit, how.value, how.of, dict(how.without), dict(how.only), how.key]
    return "scores 2 " + canonical_json([*parts, *(["seen"] if how.share is None else [])])


def _packed(evaluation: Path, how: Scores) -> bytes:
    """The scores of an evaluation as bytes: units and flaws in JSON, then the sums.

    Raises:
        CorruptCellError: The records do not match DONE, or lack a column or numbers in it.
    """
    names = [how.unit, how.value, *([how.of] if how.of else []), *how.without, *how.only]
    columns = checked_columns(evaluation, list(dict.fromkeys(names)))
    some = range(len(columns[how.unit]))
    kept = [
        i for i in some if columns[how.unit][i] is not None and all(columns[c][i] == v for c, v in how.only.items())
    ]
    unit, score = ([columns[name][i] for i in kept] for name in (how.unit, how.value))
    try:
        if how.key is not None:
            entries = [_entry(json.loads(text).get(how.key)) for text in score]
            value, of, trials = np.array(entries, dtype=float).reshape(-1, 3).T
        else:
            value, trials = np.array(score, dtype=float), np.array([how.share])
            of = np.array([columns[how.of][i] for i in kept], dtype=float) if how.of else np.ones(len(kept))
    except (ValueError, TypeError, AttributeError) as error:
        raise corrupt(evaluation, f"its scores in column {how.value} are no numbers: {error}") from error
    why = np.where(np.isfinite(value) & np.isfinite(of), "", NOT_FINITE).tolist()
    for column, without in how.without.items():
        for at, i in enumerate(kept):
            if columns[column][i] == without:
                why[at] = f"{column}={without}"
    units = sorted(set(unit))
    position = {name: at for at, name in enumerate(units)}
    line = [position[name] for name in unit]
    flaws: dict[int, tuple[str, bool]] = {}
    for at, reason in zip(line, why, strict=True):
        if reason:
            flaws[at] = max(flaws.get(at, ("", False))[0], reason), False
    for at, reason in zip(line, why, strict=True) if flaws else ():
        if not reason and at in flaws:
            flaws[at] = flaws[at][0], True
    if how.share is None:
        scored = np.array([not reason for reason in why])
        trials = np.isin(value[scored], (0, 1)) & (of[scored] == 1)
    sums = [np.bincount(line, np.where(np.isnan(x), 0.0, x), len(units)) for x in (value, of)]
    head = json.dumps([units, [(at, *flaw) for at, flaw in flaws.items()], bool(trials.all())], default=str)
    return zlib.compress(head.encode() + b"\n" + np.concatenate(sums).tobytes(), 1)


def _unpacked(content: bytes) -> _Sums:
    head, _, numbers = zlib.decompress(content).partition(b"\n")
    (units, flaws, trials), sums = _head(head), np.frombuffer(numbers)
    return _Sums(units, sums[: len(units)], sums[len(units) :], flaws, trials)


@lru_cache(maxsize=256)  # evaluations of one setting have the same units
def _head(text: bytes) -> tuple[pd.Index, dict[int, tuple[str, bool]], bool]:
    import pandas as pd

    units, flaws, trials = json.loads(text)
    return pd.Index(units), {at: (why, scored) for at, why, scored in flaws}, trials


def _entry(value: Any) -> tuple[float, float, bool]:
    """Score and whole of an entry, and whether it consists of zeros and ones; NaN if it is no number."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(v, bool | int | float) for v in found):
        return math.nan, 1.0, True
    return float(sum(found)), float(len(found)), all(v in (0, 1) for v in found)
