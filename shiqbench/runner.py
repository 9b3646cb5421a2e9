"""Carry a plan out: train what is missing, evaluate what is missing, say what came out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.cell import check_writable, held, is_done, mark_done
from shiqbench.curve import Point
from shiqbench.digest import short
from shiqbench.errors import ConfigError
from shiqbench.files import read_json, write_json
from shiqbench.snapshots import of_cell
from shiqbench.start_model import StartModel

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.curve import Curve
    from shiqbench.evaluation import EngineHolder
    from shiqbench.plan import CellPlan, RunPlan
    from shiqbench.progress import Display

# What a language model under training can provide, whatever the task.
LANGUAGE_MODEL_OFFERS = frozenset({"values", "token_q", "mismatched", "best"})


@dataclass(frozen=True)
class RunResult:
    """What ``run`` returns and prints with ``--json``.

    Attributes:
        cell: Train digest.
        path: The cell's folder.
        state: ``done``.
        cached: Nothing had to be computed.
        evaluation: Digest and folder of the evaluation.
        primary: The primary metric with its interval.
        metrics: Every metric.
        budget: What training spent; None for ``base``.
        also: What ``--also`` evaluated, as typed -> evaluation, primary, metrics.
        curve: What ``--eval-every`` evaluated: update, evaluation, primary, metrics.
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

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.__dict__, "path": str(self.path)}


def missing(plan: RunPlan) -> list[str]:
    """What a run of this plan would compute, in words; empty if nothing."""
    todo = [f"train {c.label}" for c in plan.trained if not is_done(c.folder)]
    if is_done(plan.cell.folder) and _weights_to_keep(plan):
        todo.append(f"train {plan.cell.label} once more, for its weights along the way")
    for each in (plan, *plan.also):
        on = f" on {each.name}" if each.added else ""
        todo += [f"evaluate {c.label}{on}" for c in each.evaluated if not is_done(each.eval_folder(c))]
    if plan.curve is not None:
        todo += [f"evaluate {p.cell.label} at update {p.update}" for p in plan.curve.points if not is_done(p.folder)]
    return todo


def _weights_to_keep(plan: RunPlan) -> tuple[int, ...]:
    """The updates whose weights the curve still needs and the cell did not keep."""
    if plan.curve is None:
        return ()
    lacking = tuple(p.snapshot for p in plan.curve.points if p.snapshot is not None and not is_done(p.folder))
    return () if not lacking or of_cell(plan.cell, lacking).complete() else lacking


def run_plan(plan: RunPlan, display: Display) -> RunResult:
    """Train and evaluate whatever is missing, then read the result back.

    Raises:
        ConfigError: Before anything was written.
        ShiqbenchError: The run failed; error.json is in the cell.
    """
    cached = not missing(plan)
    if not cached:
        prepare(plan)
        _compute(plan, display)
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
    )


def _evaluated(folder: Path) -> dict[str, Any]:
    """What an evaluation gave."""
    metrics = read_json(folder / "metrics.json")
    evaluation = {"digest": folder.name, "path": str(folder)}
    return {"evaluation": evaluation, "primary": metrics["primary"], "metrics": metrics["metrics"]}


def prepare(plan: RunPlan) -> None:
    """Everything that can fail before a result folder exists: permissions, assets, the model."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    cell = plan.cell
    for each in plan.trained:
        check_needs(each)
    check_writable(cell.results)
    for evaluated in (plan, *plan.also):
        evaluated.task.fetch()
        if not cell.task.own_policy:
            evaluated.task.meet(StartModel(cell.model.folder()))


def check_needs(cell: CellPlan) -> None:
    """Refuse an algorithm whose needs neither the task's data nor the policy meets, or that the task refuses.

    Raises:
        ConfigError: It names what is missing, or what the task says.
    """
    algorithm, task = cell.algorithm.load()(cell.algo), cell.task.load()(cell.task_config)
    needs: frozenset[str] = algorithm.needs
    offers: frozenset[str] = task.offers | (frozenset() if cell.task.own_policy else LANGUAGE_MODEL_OFFERS)
    missing = sorted(needs - offers)
    if missing:
        raise ConfigError(
            f"{cell.algorithm.name} needs {', '.join(missing)}, which {cell.task.name} does not offer",
            where="--algo",
            do="choose another algorithm or task, or a setting of it that does without",
        )
    task.check(algorithm)


def _compute(plan: RunPlan, display: Display) -> None:
    from shiqbench.evaluation import JOURNAL, engine_holder, evaluate_cell

    for cell in plan.trained:
        keep = _weights_to_keep(plan) if cell is plan.cell else ()
        if keep or not is_done(cell.folder):
            from shiqbench.train_cell import train_cell

            display.say(f"train {cell.label}")
            train_cell(cell, display, keep)
    with engine_holder() as holder:
        for each in (plan, *plan.also):
            on = f" on {each.name}" if each.added else ""
            for cell in each.evaluated:
                if cell.train is None:
                    _untrained(cell)
                if not is_done(each.eval_folder(cell)):
                    goes_on = ", continued" if (each.eval_folder(cell) / JOURNAL).is_file() else ""
                    display.say(f"evaluate {cell.label}{on} with {each.engine_version}{goes_on}")
                    with display.bar(f"evaluate {cell.label}", 0) as advance:
                        evaluate_cell(each, cell, holder, advance)
        if plan.curve is not None:
            _evaluate_curve(plan.curve, display, holder)


def _evaluate_curve(curve: Curve, display: Display, holder: EngineHolder) -> None:
    """Every point that is missing; the untrained model first, because tasks may compare with it."""
    from shiqbench.evaluation import evaluate_cell

    base = curve.plan.base
    untrained = Point(0, base, None, curve.plan.eval_folder(base))
    for point in {p.folder: p for p in (untrained, *curve.points)}.values():
        if point.cell.train is None:
            _untrained(point.cell)
        if not is_done(point.folder):
            what = f"evaluate {point.cell.label} at update {point.update} on validation"
            display.say(f"{what} with {curve.plan.engine_version}")
            with display.bar(what, 0) as advance:
                evaluate_cell(curve.plan, point.cell, holder, advance, point.snapshot)


def _untrained(cell: CellPlan) -> None:
    """The folder of a cell that trains nothing: its recipe and where it ran."""
    if is_done(cell.folder):
        return
    from shiqbench.manifest import manifest

    with held(cell.folder):
        files = [cell.folder / "config.json", cell.folder / "manifest.json"]
        write_json(files[0], cell.recipe)
        write_json(files[1], manifest(model=cell.model.text, start=None))
        mark_done(cell.folder, files)


def describe(plan: RunPlan) -> list[str]:
    """The plan in a few lines, for the user to check before minutes are spent."""
    cell = plan.cell
    reduced = " (a reduced setting)" if cell.task_config.reduced() else ""
    lines = [f"{cell.algorithm.name} on {cell.task.name}, preset {cell.preset}{reduced}, model {cell.model.text}"]
    if cell.start:
        lines.append(f"starts from {cell.start.label}, which is also the reference")
    if cell.train:
        lines.append(f"trains {cell.train.summary()}, seed {cell.seed}")
    how = f"with {plan.engine_version} {plan.evaluation.summary()}".strip()
    lines.append(f"evaluates {how}; cell {short(cell.digest)}, evaluation {plan.eval_folder(cell).name}")
    for each in plan.also:
        where = f"evaluation {each.eval_folder(cell).name}"
        lines.append(f"also evaluates {each.name} with {each.engine_version} {each.evaluation.summary()}; {where}")
    if plan.curve is not None:
        at = ", ".join(str(p.update) for p in plan.curve.points)
        lines.append(f"also evaluates on validation at updates {at}")
    todo = missing(plan)
    lines.append("to do: " + (", ".join(todo) if todo else "nothing, all of it is done"))
    return lines
