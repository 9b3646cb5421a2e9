"""Facts from the installed plugins about the evaluated tasks; a report works without a plugin that is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ShiqbenchError
from shiqbench.plugin.record_view import RecordView
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.specs import TaskSpec
    from shiqbench.plugin.task import Scores, TaskBase
    from shiqbench.store.index import EvaluationEntry


@dataclass(frozen=True)
class KnownTask:
    """An evaluated task.

    Attributes:
        name: Name of the task.
        spec: Spec of the task; None if no plugin provides it.
        scores: Columns of the single scores, by primary metric.
        training_curve: Key and name of the quantity that is drawn over training.
        record_view: How a page shows its records.
    """

    name: str
    spec: TaskSpec | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    training_curve: tuple[str, str] | None = None
    record_view: RecordView = field(default_factory=RecordView)

    def scores_of(self, metric: str) -> Scores | None:
        """The columns that make a primary metric; None if cells can be compared only by seed."""
        found = self.scores.get(metric)
        return found if found is not None or self.spec is None else self.spec.load().scores_of(metric)

    def columns_of(self, setting: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
        """Further metrics to show: name, heading, format."""
        task = self._task(setting)
        return task.table_columns() if task is not None else ()

    def notes(self, setting: Mapping[str, Any], metrics: Mapping[str, float]) -> list[str]:
        """Notes on these metrics."""
        if self.spec is None:
            return [
                f"{self.name} is not installed here, so only its primary metric is shown, and rows are compared by "
                "seed only; --plugin FILE, or installing its package, brings back the rest"
            ]
        task = self._task(setting)
        if task is None:
            return [
                f"this version of {self.name} does not accept the recorded settings: only its primary metric is shown"
            ]
        try:
            return task.notes(metrics)
        except Exception as error:
            return [f"{self.name} has no notes on these metrics: {type(error).__name__}: {error}"]

    def _task(self, setting: Mapping[str, Any]) -> TaskBase | None:
        """The task with its recorded settings; None if this version no longer accepts them."""
        if self.spec is None:
            return None
        try:
            config = validate(self.spec.load_config(), dict(setting.get("setting") or {}), "task")
        except ShiqbenchError:
            return None
        found: TaskBase = self.spec.load()(config)
        return found


def known_tasks(evaluations: Iterable[EvaluationEntry], found: Registry) -> dict[str, KnownTask]:
    """The evaluated tasks by name; if no plugin provides a task, only its name is known."""
    known = {}
    for name in sorted({e.task for e in evaluations}):
        try:
            spec = found.task(name)
            task = spec.load()
        except ShiqbenchError:
            known[name] = KnownTask(name)
            continue
        known[name] = KnownTask(name, spec, task.scores, task.training_curve, task.record_view)
    return known
