"""A results folder as tidy pandas frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.plugin.registry import registry
from shiqbench.report.ledger import Ledger
from shiqbench.store.index import read_index
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    import pandas as pd

    from shiqbench.store.index import Index


@dataclass(frozen=True)
class Frames:
    """The contents of a results folder.

    Attributes:
        evaluations: One row per evaluation: ``evaluation`` (folder), ``cell`` (folder), ``task`` (evaluated),
            ``split``, ``engine``, ``setting``, ``algorithm``, ``differs_in``, ``row`` (equal for the seeds of one
            recipe), ``seed``, ``start``, ``update`` (of a checkpoint; NA for final weights), ``metric``, ``value``,
            ``low``, ``high`` (NaN without an interval), ``higher_is_better``, ``reduced``, ``updates``, ``tokens``,
            ``train_seconds``, ``eval_seconds``.
        unfinished: One row per folder without a result: ``folder``, ``cause``, ``what``.
        index: Index that the frames are made from.
    """

    evaluations: pd.DataFrame
    unfinished: pd.DataFrame
    index: Index

    def metrics(self) -> pd.DataFrame:
        """Every metric of every evaluation: ``evaluation``, ``metric``, ``value``."""
        import pandas as pd

        found = [(e.folder, name, v) for e in self.index.evaluations.values() for name, v in e.metrics.items()]
        return pd.DataFrame(found, columns=["evaluation", "metric", "value"])

    def ledger(self, plugins: tuple[Path, ...] = ()) -> pd.DataFrame:
        """What each finished cell cost and how it was tuned, see :meth:`shiqbench.report.ledger.Ledger.frame`.

        Args:
            plugins: Local plugin files, whose algorithms and tasks tell their defaults.
        """
        return Ledger(self.index, registry(plugins)).frame()


def load(results: str | Path = "results", task: str | None = None) -> Frames:
    """Read a results folder; unchanged files that were read before are not read again.

    Args:
        results: Results folder.
        task: Read only cells that were trained on this task.
    """
    import pandas as pd

    index = read_index(Path(results), task)
    recipes = list({e.cell.recipe.key: e.cell.recipe for e in index.evaluations.values()}.values())
    said = dict(zip([r.key for r in recipes], labels([r.value for r in recipes]), strict=True))
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for e in index.evaluations.values():
        setting, cell, primary = e.setting.value, e.cell, e.primary
        row = (
            e.folder, cell.folder, setting["task"], (setting.get("eval") or {}).get("split"), setting["engine"],
            short(e.setting.key), cell.algorithm, said[cell.recipe.key], short(cell.recipe.key), cell.seed,
            cell.start or cell.model, e.update, primary["name"], primary["value"], primary["low"], primary["high"],
            primary["higher_is_better"], e.reduced, cell.budget.get("updates"), cell.budget.get("tokens"),
            cell.seconds, e.seconds,
        )  # fmt: skip
        for name, value in zip(_COLUMNS, row, strict=True):
            columns[name].append(value)
    whole = dict.fromkeys(("seed", "update", "updates", "tokens"), "Int64") | dict.fromkeys(("low", "high"), "float64")
    evaluations = pd.DataFrame(columns).astype(whole)
    unfinished = [(u.folder, u.cause, u.what) for u in index.unfinished]
    return Frames(evaluations, pd.DataFrame(unfinished, columns=["folder", "cause", "what"]), index)


_COLUMNS = (
    "evaluation", "cell", "task", "split", "engine", "setting", "algorithm", "differs_in", "row", "seed", "start",
    "update", "metric", "value", "low", "high", "higher_is_better", "reduced", "updates", "tokens", "train_seconds",
    "eval_seconds",
)  # fmt: skip
