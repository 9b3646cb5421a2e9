"""Run a plan: train what is missing, evaluate what is missing, return the result."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, write_json
from shiqbench.base.progress import waiting
from shiqbench.base.trackers import is_tracked, track_finished
from shiqbench.planning.plan import CurvePoint
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import Task
from shiqbench.running.best import choose
from shiqbench.running.weights import of_cell
from shiqbench.running.workbench import workbench
from shiqbench.store.cell import BEST, check_not_cleaned, check_writable, is_done, mark_done, working_on

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.base.progress import Display
    from shiqbench.planning.plan import CellPlan, LearningCurve, RunPlan
    from shiqbench.running.team import Team
    from shiqbench.running.workbench import Workbench


@dataclass(frozen=True)
class RunResult:
    """Result that ``run`` returns, and prints with ``--json``.

    Attributes:
        cell: Train digest.
        path: The cell's folder.
        state: ``done``.
        cached: Whether nothing had to be computed.
        evaluation: Digest and folder of the evaluation.
        primary: The primary metric with its interval.
        metrics: Every metric.
        budget: Budget that training used; None for ``base``.
        also: Results of ``--also``: name as typed -> evaluation, primary, metrics.
        curve: Results of ``--eval-every``: update, evaluation, primary, metrics.
        best: Result of ``--keep best``: update, the folder of its weights, evaluation, primary, metrics; else None.
    """

    cell: str
    path: Path
    state: str
    cached: bool
    evaluation: dict[str, str]
    primary: dict[str, Any]
    metrics: dict[str, float]
    budget: dict[str, int] | None
    also: dict[str, dict[str, Any]]
    curve: list[dict[str, Any]]
    best: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.__dict__, "path": str(self.path)}


@dataclass(frozen=True)
class Step:
    """One training or evaluation that a run may have to compute; runs that share it compute it once.

    Attributes:
        text: Description of the step.
        folder: Folder of the result; a DONE marks it as finished.
        cell: Cell that is trained or evaluated.
        evaluation: Plan of the evaluation; None for a training.
        update: Update whose snapshot is evaluated; None takes the final weights.
        keep: For a training, the updates after which its weights are kept.
        best: Whether the weights that are best on validation are evaluated.
    """

    text: str
    folder: Path
    cell: CellPlan
    evaluation: RunPlan | None = None
    update: int | None = None
    keep: tuple[int, ...] = ()
    best: bool = False

    def done(self) -> bool:
        """Whether nothing is left to compute.

        Raises:
            CorruptCellError: A result is not what was written.
        """
        return is_done(self.folder) and (not self.keep or of_cell(self.cell, self.keep).complete())

    def weights_of(self) -> Path | None:
        """Folder of the cell whose final weights are needed; None for a model that was not trained here."""
        if self.evaluation is None or self.update is not None or self.best:
            return self.cell.start.folder if self.cell.start else None
        return self.cell.folder if self.cell.train is not None else self.cell.model.cell


def steps(plan: RunPlan) -> list[Step]:
    """All steps of a run of this plan, in order, done or not."""
    keep = _weights_to_keep(plan)
    again = " once more, to keep its intermediate weights" if keep and is_done(plan.cell.folder) else ""
    found = [Step(f"train {c.label}", c.folder, c) for c in plan.trained if c is not plan.cell]
    if plan.cell.train is not None:
        found.append(Step(f"train {plan.cell.label}{again}", plan.cell.folder, plan.cell, keep=keep))
    for each in (plan, *plan.also):
        on = f" on {each.name}" if each.added else ""
        found += [Step(f"evaluate {c.label}{on}", each.eval_folder(c), c, each) for c in each.evaluated]
    if plan.curve is not None:
        found += _curve_steps(plan.curve)
        if plan.curve.keep_best:
            text = f"evaluate the weights of {plan.cell.label} that are best on validation"
            found.append(Step(text, plan.best_folder(), plan.cell, plan, best=True))
    return found


def _curve_steps(curve: LearningCurve) -> list[Step]:
    """Steps of a curve; the untrained model comes first, because tasks may compare with it."""
    plan = curve.plan
    untrained = CurvePoint(0, plan.base, None, plan.eval_folder(plan.base))
    points = {p.folder: p for p in (untrained, *curve.points)}.values()
    return [
        Step(f"evaluate {p.cell.label} at update {p.update} on validation", p.folder, p.cell, plan, p.snapshot)
        for p in points
    ]


def _weights_to_keep(plan: RunPlan) -> tuple[int, ...]:
    """The updates whose weights the curve, or the choice of its best point, still needs."""
    if plan.curve is None:
        return ()
    every = plan.curve.keep_best and not is_done(plan.best_folder())  # each of them may be the best one
    return tuple(p.snapshot for p in plan.curve.points if p.snapshot is not None and (every or not is_done(p.folder)))


def missing(plan: RunPlan) -> list[str]:
    """Descriptions of all steps that a run of this plan would compute."""
    return [step.text for step in steps(plan) if not step.done()]


def run_plan(plan: RunPlan, display: Display, bench: Workbench | None = None, team: Team | None = None) -> RunResult:
    """Train and evaluate what is missing, then read the result.

    Args:
        plan: Plan to run.
        display: Receives progress.
        bench: Objects that this process keeps for its next run; without a bench, nothing is kept.
        team: Processes that train with this one, if there is no bench; they are dismissed at the end.

    Raises:
        ConfigError: The plan cannot run; nothing was written.
        ShiqbenchError: The run failed; error.json is in the cell.
    """
    todo = [step for step in steps(plan) if not step.done()]
    if todo:
        prepare(plan, bench.checked if bench else set())
        with nullcontext(bench) if bench else workbench(team) as kept:
            _compute(todo, display, kept)
    if team is not None:
        team.dismiss()
    if display.tracker is not None:
        _track_finished(plan, display, display.tracker)
    return result_of(plan, cached=not todo)


def _track_finished(plan: RunPlan, display: Display, tracker: str) -> None:
    """Give the tracker the logs of trainings that it did not see: those that were finished before."""
    for cell in plan.trained:
        if is_tracked(tracker, cell.folder):
            continue
        with working_on(cell.folder):
            if not is_tracked(tracker, cell.folder):  # another process did it meanwhile
                track_finished(tracker, cell.label, cell.folder)
                display.say(f"{cell.label} was trained before; {tracker} has its log now")


def result_of(plan: RunPlan, *, cached: bool) -> RunResult:
    """Read the result of a finished run."""
    manifest = plan.cell.folder / "manifest.json"
    return RunResult(
        cell=plan.cell.digest,
        path=plan.cell.folder,
        state="done",
        cached=cached,
        **_evaluated(plan.eval_folder(plan.cell)),
        budget=read_json(manifest).get("budget") if plan.cell.train else None,
        also={each.name: _evaluated(each.eval_folder(each.cell)) for each in plan.also},
        curve=[{"update": p.update, **_evaluated(p.folder)} for p in plan.curve.points] if plan.curve else [],
        best=_best(plan),
    )


def _best(plan: RunPlan) -> dict[str, Any] | None:
    """Read the result of the weights that are best on validation."""
    if plan.curve is None or not plan.curve.keep_best:
        return None
    folder = plan.best_folder()
    update = read_json(folder / "manifest.json")["best"]["update"]
    return {"update": update, "path": str(plan.cell.folder / BEST / f"{update:06d}"), **_evaluated(folder)}


def _evaluated(folder: Path) -> dict[str, Any]:
    """Read the result of an evaluation."""
    metrics = read_json(folder / "metrics.json")
    evaluation = {"digest": folder.name, "path": str(folder)}
    return {"evaluation": evaluation, "primary": metrics["primary"], "metrics": metrics["metrics"]}


def prepare(plan: RunPlan, checked: set[str] | None = None) -> None:
    """Do everything that can fail before a result folder exists: permissions, assets, the model, the first prompts.

    Args:
        plan: Plan to run.
        checked: Checks of models that this process has passed already.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    cell = plan.cell
    for each in plan.trained:
        check_needs(each)
    for step in steps(plan):
        needed = step.weights_of()
        if needed is not None and not step.done():
            check_not_cleaned(needed)
    check_writable(cell.results)
    start: StartModel | None = None
    for evaluated in (plan, *plan.also):
        evaluated.task.fetch()
        if isinstance(evaluated.task, Task) and not cell.model.served:
            start = start or StartModel(cell.model.folder(), template=cell.model.template)
            evaluated.task.use_model(start)
    if start is not None:
        from shiqbench.running.checks import check_model

        with waiting("checking the model"):
            check_model(plan, start, checked if checked is not None else set())


def check_needs(cell: CellPlan) -> None:
    """Refuse an algorithm with needs that neither the task's data nor the policy meets, or that the task refuses.

    Raises:
        ConfigError: A need is not met, or the task refuses; the message says which need or why.
    """
    algorithm, task = cell.algorithm.load()(cell.algo), cell.task.load()(cell.task_config)
    missing = sorted(algorithm.needs - task.provides())
    if missing:
        raise ConfigError(
            f"{cell.algorithm.name} needs {', '.join(missing)}, which {cell.task.name} does not offer",
            where="--algo",
            do="choose another algorithm or task, or a setting of the algorithm that does not need this",
        )
    task.check(algorithm)


def _compute(todo: Sequence[Step], display: Display, bench: Workbench) -> None:
    """Compute the steps; each step first checks whether another process has finished it meanwhile."""
    for step in todo:
        if step.evaluation is not None:  # no training follows an evaluation
            bench.team.dismiss()
        if step.evaluation is not None and step.cell.train is None:
            _untrained(step.cell)
        if step.evaluation is None:
            with waiting("loading torch"):
                from shiqbench.running.train_cell import train_cell

            with display.step(step.text, step.folder):
                train_cell(step.cell, display, bench, step.keep)
            continue
        from shiqbench.running.evaluation import JOURNAL, evaluate_cell

        chosen = choose(step.evaluation.curve) if step.best and step.evaluation.curve is not None else None
        update = step.update if chosen is None else chosen.update
        at = "" if update is None else f" at update {update}"
        goes_on = ", continued" if (step.folder / JOURNAL).is_file() else ""
        with (
            display.step(f"{step.text} with {step.evaluation.engine_version}{goes_on}", step.folder),
            display.bar(f"evaluate {step.cell.label}{at}", 0) as advance,
        ):
            bench.make_room_for_engine()
            evaluate_cell(step.evaluation, step.cell, bench.engine, advance, step.update, chosen)


def _untrained(cell: CellPlan) -> None:
    """Write the folder of a cell without training: its recipe and its manifest."""
    if is_done(cell.folder):
        return
    from shiqbench.base.manifest import manifest

    with working_on(cell.folder):
        files = [cell.folder / "config.json", cell.folder / "manifest.json"]
        write_json(files[0], cell.recipe)
        facts = {"model": cell.model.text, "model_revision": cell.model.revision, "start": None}
        write_json(files[1], manifest(**facts, places=cell.task_config.places()))
        mark_done(cell.folder, files)


def describe_run(plan: RunPlan) -> list[str]:
    """Describe the plan in a few lines, so that the user can check it before a long run."""
    cell = plan.cell
    reduced = " (a reduced setting)" if cell.task_config.reduced() else ""
    lines = [f"{cell.algorithm.name} on {cell.task.name}, preset {cell.preset}{reduced}, model {cell.model.text}"]
    if cell.start:
        lines.append(f"starts from {cell.start.label}, which is also the reference")
    if cell.train:
        lines.append(f"trains {cell.train.summary()}, seed {cell.seed}")
    lines.append(f"evaluates with {plan.how()}; cell {short(cell.digest)}, evaluation {plan.eval_folder(cell).name}")
    for each in plan.also:
        where = f"evaluation {each.eval_folder(cell).name}"
        lines.append(f"also evaluates {each.name} with {each.how()}; {where}")
    if plan.curve is not None:
        at = ", ".join(str(p.update) for p in plan.curve.points)
        lines.append(f"also evaluates on validation at updates {at}")
        if plan.curve.keep_best:
            where = f"evaluation {plan.best_folder().name}"
            lines.append(f"also keeps and evaluates the weights that are best on validation, after update 0; {where}")
    todo = missing(plan)
    lines.append("to do: " + (", ".join(todo) if todo else "nothing, everything is done"))
    return lines
