"""A results folder as tidy pandas frames, for notebooks. Every number is also in ``shiqbench report``."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import flatten, short
from shiqbench.base.errors import CorruptCellError
from shiqbench.plugin.registry import registry
from shiqbench.report.curves import evaluated
from shiqbench.report.known import known_tasks
from shiqbench.report.ledger import Ledger
from shiqbench.report.logs import LogBook, unread_notes
from shiqbench.report.make import compare
from shiqbench.report.names import names_of, with_label
from shiqbench.report.scores import ScoreBook
from shiqbench.report.tidy import CURVE, DIFFERENCES, EVALUATIONS, SCORES, TRAINING, frame, stacked, varied_settings
from shiqbench.store.folder import refuse_other, results_folder
from shiqbench.store.index import read_index
from shiqbench.store.labels import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from shiqbench.plugin.registry import Registry
    from shiqbench.report.known import KnownTask
    from shiqbench.store.index import CellEntry, EvaluationEntry, Index


@dataclass(frozen=True, repr=False)
class Frames:
    """The contents of a results folder. A frame is read when it is asked for.

    In every frame ``algorithm`` and ``differs_in`` are those of the tables, ``name`` is both together, ``row`` is equal
    for the seeds of one recipe, ``cell`` and ``evaluation`` are folders below the results folder. What does not exist
    is NA (whole numbers), NaN (other numbers) or None.

    Attributes:
        index: Index that the frames are made from.
        known: Known facts about each evaluated task.
        found: Registry of the plugins.
    """

    index: Index
    known: Mapping[str, KnownTask]
    found: Registry

    def __repr__(self) -> str:
        """Say what there is, and how to get it."""
        tasks = ", ".join(sorted({e.setting.value["task"] for e in self._all})) or "none"
        counts = {"cells": self.index.cells, "evaluations": self._all, "unfinished": self.index.unfinished}
        return (
            f"Frames of {self.index.results}: {', '.join(f'{len(v)} {k}' for k, v in counts.items())}\n"
            f"  evaluated tasks: {tasks}\n"
            "  tables: .evaluations, .unfinished\n"
            "  methods: .metrics() .settings() .scores() .training() .curve() .differences(BASELINE) .ledger()\n"
            "  help(shiqbench.report.Frames) explains every column"
        )

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row per evaluation.

        Columns: ``evaluation``, ``cell``, ``task`` (evaluated), ``split``, ``engine``, ``setting`` (equal for
        evaluations of one table), ``algorithm``, ``differs_in``, ``name``, ``row``, ``seed``, ``start`` (or the
        model), ``update`` (of a checkpoint; NA for final weights), ``metric``, ``value``, ``low``, ``high`` (the
        evaluation's own 95 % interval, as the version that made it wrote it; NaN without one. The report's are over
        examples and seeds, in ``make_report(...).blocks`` and CSV), ``higher_is_better``, ``examples`` (that have a
        score; NA if the task does not name its single scores), ``reduced``, ``updates``, ``tokens`` (of the policy's
        passes), ``train_tokens`` (of all passes), ``train_seconds``, ``eval_seconds``; then a column for each setting
        in which
        rows of one task differ, such as ``algo.beta`` or ``train.lr``, with its values as they are (a list as text).
        """
        examples = self._examples()
        rows = [
            {
                **self._about(e),
                "start": e.cell.start or e.cell.model,
                "update": e.update,
                "metric": e.primary["name"],
                "value": e.primary["value"],
                "low": e.primary["low"],
                "high": e.primary["high"],
                "higher_is_better": e.primary["higher_is_better"],
                "examples": examples.get(e.folder),
                "reduced": e.reduced,
                "updates": e.cell.budget.get("updates"),
                "tokens": e.cell.budget.get("tokens"),
                "train_tokens": e.cell.train_tokens if e.cell.seconds is not None else None,
                "train_seconds": e.cell.seconds,
                "eval_seconds": e.seconds,
            }
            for e in self._all
        ]
        return frame(EVALUATIONS, rows, varied_settings(self._all))

    @cached_property
    def unfinished(self) -> pd.DataFrame:
        """One row per folder without a result: ``folder``, ``cause``, ``what``."""
        return frame(("folder", "cause", "what"), [asdict(u) for u in self.index.unfinished])

    def metrics(self) -> pd.DataFrame:
        """Every metric of every evaluation: ``evaluation``, ``metric``, ``value``."""
        found = [{"evaluation": e.folder, "metric": k, "value": v} for e in self._all for k, v in e.metrics.items()]
        return frame(("evaluation", "metric", "value"), found)

    def settings(self) -> pd.DataFrame:
        """Every setting of every row and evaluation.

        Columns: ``of`` (``row`` or ``setting``), ``id`` (the value of that column in ``evaluations``), ``key``,
        ``value``.
        """
        recipes = {short(e.cell.recipe.key): settings_of(e.cell.recipe.value) for e in self._all}
        settings = {short(e.setting.key): flatten(e.setting.value) for e in self._all}
        found = [
            {"of": of, "id": name, "key": key, "value": value}
            for of, all_of in (("row", recipes), ("setting", settings))
            for name, mine in all_of.items()
            for key, value in mine.items()
        ]
        return frame(("of", "id", "key", "value"), found, as_they_are=True)

    def scores(self, some: pd.DataFrame | None = None) -> pd.DataFrame:
        """One row per evaluation and example, of tasks that name their single scores.

        Columns: ``evaluation``, ``task``, ``setting``, ``algorithm``, ``differs_in``, ``name``, ``row``, ``seed``,
        ``update``, ``example``, ``value``, ``of`` (the metric is the sum of ``value`` over the sum of ``of``),
        ``left_out`` (the reason why the example has no score; empty if it has one).

        Args:
            some: Rows of ``evaluations`` whose scores are read; None reads all.

        Raises:
            CorruptCellError: Records differ from what was written.
        """
        book = ScoreBook(self.index.results)
        wanted = self._all if some is None else [self.index.evaluations[folder] for folder in some["evaluation"]]
        parts = []
        for e in self._read(wanted, book):
            units, about = book.of([e], self._how(e)), {**self._about(e), "update": e.update}
            out, n = units.left_out, len(units.value.columns)
            parts.append(
                (
                    about,
                    {
                        "example": [*units.value.columns, *out],
                        "value": [*units.value.iloc[0], *[None] * len(out)],
                        "of": [*units.of.iloc[0], *[None] * len(out)],
                        "left_out": [*[""] * n, *out.values()],
                    },
                )
            )
        return stacked(SCORES, parts)

    def training(self, quantity: str | None = None) -> pd.DataFrame:
        """What trainings have measured: one row per logged update and quantity of ``train.jsonl``.

        Columns: ``cell``, ``task`` (trained), ``algorithm``, ``differs_in``, ``name``, ``row``, ``seed``, ``update``,
        ``tokens`` (of the policy's passes up to there), ``train_tokens`` (of all passes up to there), ``seconds`` (of
        training up to there), ``quantity``, ``value``. A warning names the cells whose log cannot be read.

        Args:
            quantity: Read this one only; None reads all.
        """
        logs, parts = LogBook(self.index.results), []
        for cell in self.index.cells.values():
            log = logs.of(cell) if cell.seconds is not None else None
            if log is None:
                continue
            about = {"cell": cell.folder, "task": cell.folder.split("/")[0], **self._name(cell)}
            some = {name: v for name, v in log.values.items() if quantity in (None, name)}
            spent = {"update": log.updates, **{k: getattr(log, k) for k in ("tokens", "train_tokens", "seconds")}}
            columns = {name: [x for _ in some for x in values.tolist()] for name, values in spent.items()}
            columns["quantity"] = [name for name in some for _ in log.updates]
            parts.append((about, columns | {"value": [x for values in some.values() for x in values.tolist()]}))
        for note in unread_notes([f"{folder}: {why}" for folder, why in logs.unread.items()]):
            warnings.warn(note, stacklevel=2)
        return stacked(TRAINING, parts)

    def curve(self) -> pd.DataFrame:
        """Evaluations of cells with checkpoints, put together: the start at update 0, checkpoints, the final weights.

        Columns: ``evaluation`` (that of the start is in the curve of every cell that begins there), ``cell`` (that is
        trained), ``task``, ``split``, ``setting``, ``algorithm``, ``differs_in``, ``name``, ``row``, ``seed``,
        ``update``, ``tokens``, ``train_tokens``, ``seconds`` (as in ``training``; NaN if the log cannot be read),
        ``metric``, ``value``, ``low``, ``high``.
        """
        logs, found = LogBook(self.index.results), []
        for cells in evaluated(self._all).values():
            for at, points in cells.items():
                cell = self.index.cells[at]
                log = logs.of(cell)
                for update, e in points.items():
                    spent = {} if log is None else log.spent(update)
                    numbers = {k: e.primary[k] for k in ("value", "low", "high")}
                    about = {**self._about(e), **self._name(cell), "cell": at, "update": update, **spent}
                    found.append({**about, "metric": e.primary["name"], **numbers})
        return frame(CURVE, found)

    def differences(self, baseline: str) -> pd.DataFrame:
        """Differences from a baseline, as in ``shiqbench report --baseline``: one row per row of a table.

        Columns: ``task``, ``split``, ``setting``, ``algorithm``, ``differs_in``, ``name``, ``row``, ``baseline``,
        ``metric``, ``higher_is_better``, ``value`` (the row's less the baseline's), ``low``, ``high`` (its 95 %
        interval), ``df`` (degrees of freedom), ``p`` (by the same variance), ``p_holm`` (corrected for all
        comparisons of the table), ``examples`` (that both have), ``better``, ``worse`` (examples), ``seeds``,
        ``baseline_seeds`` (evaluations of each side).

        Args:
            baseline: Name of an algorithm.

        Raises:
            ConfigError: No finished cell has the baseline algorithm.
        """
        found = [
            {
                "task": block.task,
                "split": block.split or None,
                "setting": block.setting,
                "algorithm": row.algorithm,
                "differs_in": row.label,
                "name": row.name,
                "row": short(row.evaluations[0].cell.recipe.key),
                "baseline": baseline,
                "metric": block.metric,
                "higher_is_better": block.higher_is_better,
                "value": d.estimate.value,
                "low": d.estimate.low,
                "high": d.estimate.high,
                "df": d.estimate.df,
                "p": d.p,
                "p_holm": d.p_holm,
                "examples": d.units,
                "better": d.better,
                "worse": d.worse,
                "seeds": d.seeds,
                "baseline_seeds": d.baseline_seeds,
            }
            for block in compare(self.index, self.known, ScoreBook(self.index.results), self.found, baseline).blocks
            for row in block.rows
            if (d := row.difference) is not None
        ]
        return frame(DIFFERENCES, found)

    def ledger(self) -> pd.DataFrame:
        """What each finished cell cost and how it was tuned, see :meth:`shiqbench.report.ledger.Ledger.frame`."""
        return Ledger(self.index, self.found).frame()

    @property
    def _all(self) -> list[EvaluationEntry]:
        return list(self.index.evaluations.values())

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {key: name.label for key, name in names_of(self.index).items()}

    def _name(self, cell: CellEntry) -> dict[str, Any]:
        label = self._labels.get(cell.recipe.key, "")
        said = {"algorithm": cell.algorithm, "differs_in": label, "name": with_label(cell.algorithm, label)}
        return {**said, "row": short(cell.recipe.key), "seed": cell.seed}

    def _about(self, e: EvaluationEntry) -> dict[str, Any]:
        folders = {"evaluation": e.folder, "cell": e.cell.folder}
        where = {"task": e.task, "split": e.split or None, "engine": e.engine}
        return {**folders, **where, "setting": short(e.setting.key), **self._name(e.cell)}

    def _how(self, e: EvaluationEntry) -> Any:
        return self.known[e.task].scores_of(e.primary["name"])

    def _read(self, wanted: Iterable[EvaluationEntry], book: ScoreBook) -> list[EvaluationEntry]:
        """Those that have single scores; the book has read them, one setting after the other."""
        by_setting: dict[tuple[str, str], list[EvaluationEntry]] = defaultdict(list)
        for e in wanted:
            by_setting[e.setting.key, e.primary["name"]].append(e)
        some = [group for group in by_setting.values() if self._how(group[0]) is not None]
        for group in some:
            book.usable(group, self._how(group[0]))
        return [e for group in some for e in group]

    def _examples(self) -> dict[str, int]:
        book, found = ScoreBook(self.index.results), {}
        for e in self._read(self._all, book):
            try:
                found[e.folder] = book.of([e], self._how(e)).value.shape[1]
            except CorruptCellError:  # who asks for the scores is told
                continue
        return found


def load(results: str | Path = "results", task: str | None = None, plugins: Sequence[str | Path] = ()) -> Frames:
    """Read a results folder; unchanged files that were read before are not read again.

    Args:
        results: Results folder.
        task: Read only cells that were trained on this task.
        plugins: Local plugin files, whose tasks name their single scores.

    Raises:
        ConfigError: There is no such folder or task.
    """
    folder = results_folder(results)
    found = registry(tuple(map(Path, plugins)))
    index = read_index(folder, task)
    if not index.cells:
        refuse_other(folder, task)
    return Frames(index, known_tasks(index.evaluations.values(), found), found)
