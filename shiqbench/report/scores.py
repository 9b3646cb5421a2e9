"""Scores of single examples, from the records of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.store.index.reading import checked_frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from shiqbench.plugin.task import Scores
    from shiqbench.store.index import EvaluationEntry


@dataclass(frozen=True)
class UnitScores:
    """Scores of one row: a line per seed, a column per unit.

    Attributes:
        value: Sum of the scores of a unit's records.
        of: The whole that the score is a part of; a seed's metric is the sum of ``value`` over the sum of ``of``.
    """

    value: pd.DataFrame
    of: pd.DataFrame

    def means(self) -> pd.DataFrame:
        """The scores, scaled so that their mean over units is the metric of the seed."""
        return self.value.div(self.of.sum(axis=1) / self.of.shape[1], axis=0)


class ScoreBook:
    """Reads the records of evaluations, each once.

    Args:
        results: Results folder.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read: dict[str, pd.DataFrame] = {}

    def of(self, evaluations: Sequence[EvaluationEntry], how: Scores) -> UnitScores:
        """Read the scores of a row.

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
        seeds = [e.cell.seed for e in evaluations]
        return UnitScores(
            *(pd.DataFrame([f[name] for f in frames], index=pd.Index(seeds, name="seed")) for name in ("value", "of"))
        )

    def _one(self, folder: str, how: Scores) -> pd.DataFrame:
        """``value`` and ``of`` by unit."""
        if folder not in self._read:
            names = [how.unit, how.value, *([how.of] if how.of else []), *how.without]
            records = checked_frame(self._results / folder, list(dict.fromkeys(names)))
            for column, value in how.without.items():
                records = records[records[column] != value]
            frame = records[[how.unit]].assign(
                value=records[how.value].astype(float), of=records[how.of].astype(float) if how.of else 1.0
            )
            self._read[folder] = frame.groupby(how.unit)[["value", "of"]].sum().sort_index()
        return self._read[folder]
