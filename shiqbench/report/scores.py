"""Scores of single examples, from the records of evaluations."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.store.index.reading import checked_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

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


class ScoreBook:
    """Reads the records of evaluations, each once.

    Args:
        results: Results folder.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read: dict[tuple[str, str, str | None], pd.DataFrame] = {}

    def of(self, evaluations: Sequence[EvaluationEntry], how: Scores) -> UnitScores:
        """Read the scores of a row, of the units that all its evaluations have scored.

        Args:
            evaluations: Evaluations, one per seed.
            how: Columns of the scores.

        Raises:
            ConfigError: Two seeds have different units.
            CorruptCellError: Records differ from what was written.
        """
        import pandas as pd

        frames = [self._one(e.folder, how) for e in evaluations]
        for evaluation, frame in zip(evaluations, frames, strict=True):
            if not frame.index.equals(frames[0].index):
                raise ConfigError(
                    f"its examples differ from those of {evaluations[0].folder}",
                    where=str(self._results / evaluation.folder),
                    do="delete one of the two and run it again",
                )
        why = pd.concat([f["why"] for f in frames], axis=1).max(axis=1)
        # What no evaluation has scored, such as a prompt that is too long for the model, is no example.
        scored = pd.concat([f["scored"] for f in frames], axis=1).any(axis=1) | (why == NOT_FINITE)
        seeds = pd.Index([e.cell.seed for e in evaluations], name="seed")
        value, of = (pd.DataFrame([f.loc[why == "", name] for f in frames]).set_axis(seeds) for name in ("value", "of"))
        return UnitScores(value, of, {str(unit): reason for unit, reason in why[scored].items() if reason})

    def both(
        self, mine: Sequence[EvaluationEntry], theirs: Sequence[EvaluationEntry], how: Scores
    ) -> tuple[UnitScores, UnitScores] | None:
        """Read the scores of two rows, of the units that all evaluations of both have scored.

        Returns:
            The scores of each row; None if the two rows have different units.

        Raises:
            ConfigError: Two seeds of one row have different units.
            CorruptCellError: Records differ from what was written.
        """
        if not self._one(mine[0].folder, how).index.equals(self._one(theirs[0].folder, how).index):
            return None
        found, n = self.of([*mine, *theirs], how), len(mine)
        one, other = (UnitScores(found.value[at], found.of[at], found.left_out) for at in (slice(n), slice(n, None)))
        return one, other

    def usable(self, evaluations: Sequence[EvaluationEntry], how: Scores | None) -> Scores | None:
        """``how``, or None if these scores do not make the metric: scores in JSON may be aggregated in any way.

        With a key, whether they are a share follows from them.
        """
        if how is None or how.key is None:
            return how
        try:
            if not all(self._gives(e, how) for e in evaluations):
                return None
            return replace(how, share=all(self._one(e.folder, how)["trials"].all() for e in evaluations))
        except CorruptCellError:
            return how  # who reads the scores says so

    def _gives(self, evaluation: EvaluationEntry, how: Scores) -> bool:
        if not math.isfinite(evaluation.primary["value"]):
            return True  # it says nothing about the aggregation
        total = self._one(evaluation.folder, how)[["value", "of"]].sum()
        return bool(total["of"] > 0) and math.isclose(
            total["value"] / total["of"], evaluation.primary["value"], rel_tol=1e-6, abs_tol=1e-9
        )

    def _one(self, folder: str, how: Scores) -> pd.DataFrame:
        """By unit: ``value``, ``of``, ``scored`` (whether a record has a score), ``why`` (a record has none).

        With a key also ``trials``: whether all entries are 0 or 1.
        """
        import pandas as pd

        known = folder, how.value, how.key
        if known not in self._read:
            names = [how.unit, how.value, *([how.of] if how.of else []), *how.without, *how.only]
            records = checked_frame(self._results / folder, list(dict.fromkeys(names)))
            for column, value in how.only.items():
                records = records[records[column] == value]
            if how.key is not None:
                entries = [_entry(json.loads(text).get(how.key)) for text in records[how.value]]
                frame = pd.DataFrame(entries, records.index, ["value", "of", "trials"]).join(records[how.unit])
            else:
                frame = records[[how.unit]].assign(
                    value=records[how.value].astype(float), of=records[how.of].astype(float) if how.of else 1.0
                )
            finite = frame[["value", "of"]].abs().max(axis=1, skipna=False) < math.inf
            frame["why"] = finite.map({True: "", False: NOT_FINITE})
            for column, value in how.without.items():
                frame.loc[records[column] == value, "why"] = f"{column}={value}"
            frame["scored"] = frame["why"] == ""
            totals = {"value": "sum", "of": "sum", "why": "max", "scored": "any"}
            totals |= {"trials": "all"} if how.key is not None else {}
            self._read[known] = frame.groupby(how.unit).agg(totals).sort_index()
        return self._read[known]


def _entry(value: Any) -> tuple[float, float, bool]:
    """Score and whole of an entry, and whether it consists of zeros and ones; NaN if it is no number."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(v, bool | int | float) for v in found):
        return math.nan, 1.0, True
    return float(sum(found)), float(len(found)), all(v in (0, 1) for v in found)
