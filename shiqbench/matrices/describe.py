"""Describe a matrix before it runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from shiqbench.matrices.cells import State
from shiqbench.matrices.power import outlooks

if TYPE_CHECKING:
    from shiqbench.matrices.estimate import Forecast
    from shiqbench.matrices.plan import MatrixPlan, Stage

MOST_LINES = 40  # up to so many families are listed one by one


def describe_matrix(matrix: MatrixPlan, at_once: int = 1) -> list[str]:
    """Describe for a terminal: counts, a line per family, shared work, estimated cost and notes."""
    lines = []
    if matrix.tuning:
        lines.append(f"tuning: {len(matrix.tuning)} times {len(matrix.tuning[0].families)} trials on validation")
        lines += _stage(matrix.trial_stage, at_once)
        lines.append("then, with the best settings of each:")
    lines += _stage(matrix.final, at_once)
    for name in matrix.untuned:
        lines.append(f"note: {name} has no grid: it runs with its defaults, not tuned")
    return lines


def baseline_of(matrix: MatrixPlan) -> str:
    """Name what the others can be compared with: the untrained model, or else the first algorithm."""
    names = [p.family.request.algo for p in matrix.final.planned]
    return "base" if "base" in names else names[0]


def _stage(stage: Stage, at_once: int) -> list[str]:
    states = stage.states()
    counts = Counter(states.values())
    lines = [f"{len(states)} cells: " + ", ".join(f"{counts[s]} {s}" for s in State)]
    rows = [
        (p.family.name, len(mine), Counter(states[c.folder] for c in mine))
        for p, mine in zip(stage.planned, stage.cells, strict=True)
    ]
    if len(rows) <= MOST_LINES:
        for name, cells, mine in rows:
            seeds = f"{cells} seeds" if cells > 1 else "1 cell"
            lines.append(f"  {name}: {seeds}, " + ", ".join(f"{mine[s]} {s}" for s in State if mine[s]))
    else:
        lines += [f"  {line}" for line in _by_task(stage, states)]
    lines += [f"  start {label} is shared by {cells} cells" for label, cells in stage.starts().items()]
    shared = [n for n in stage.references() if n > 1]
    if shared:
        lines.append(f"  reference statistics are shared by {' and by '.join(map(str, shared))} cells")
    for task, by_budget in stage.budgets().items():
        said = "; ".join(f"{', '.join(names)}: {budget}" for budget, names in by_budget.items())
        lines.append(f"note: unequal budgets on {task}: {said}")
    if counts[State.DONE] < len(states):
        lines.append("  " + _cost(stage.estimate(states), at_once))
    return lines


def _by_task(stage: Stage, states: Any) -> list[str]:
    found: dict[tuple[str, str], Counter[State]] = {}
    for p, mine in zip(stage.planned, stage.cells, strict=True):
        found.setdefault((p.family.request.task, p.family.request.algo), Counter()).update(
            states[c.folder] for c in mine
        )
    return [
        f"{task} {algorithm}: {counts.total()} cells, " + ", ".join(f"{counts[s]} {s}" for s in State if counts[s])
        for (task, algorithm), counts in found.items()
    ]


def _cost(found: Forecast, at_once: int) -> str:
    if not found.known:
        return "time and tokens unknown: no cell of these tasks with this preset has finished"
    each = found.seconds / at_once
    text = (
        f"about {_duration(each)} and {found.tokens:.3g} training tokens for {found.known} cells,"
        " estimated from similar cells"
    )
    return text + (f"; unknown for the other {found.unknown}" if found.unknown else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def as_json(matrix: MatrixPlan, wished: float | None = None) -> dict[str, Any]:
    """Return every cell, for ``--dry-run --json``; ``wished`` is that of ``outlooks``."""
    found: dict[str, Any] = {"results": str(matrix.results)}
    for name, stage in (("trials", matrix.trial_stage), ("cells", matrix.final)):
        states = stage.states()
        found[name] = [
            {
                "name": c.job.name,
                "task": p.family.request.task,
                "algorithm": p.family.request.algo,
                "model": p.plan.cell.model.text,
                "seed": c.seed,
                "settings": p.family.request.settings,
                "cell": c.digest,
                "path": str(c.folder),
                "evaluation": c.evaluation.name,
                "state": str(states[c.folder]),
            }
            for p, mine in zip(stage.planned, stage.cells, strict=True)
            for c in mine
        ]
        if states:
            cost = stage.estimate(states)
            found[f"estimate_of_{name}"] = {"seconds": cost.seconds, "tokens": cost.tokens, "unknown": cost.unknown}
    found["starts"], found["references"] = dict(matrix.final.starts()), matrix.final.references()
    found["smallest_differences"] = [each.as_json() for each in outlooks(matrix, wished)]
    found["unequal_budgets"], found["untuned"] = matrix.final.budgets(), list(matrix.untuned)
    return found
