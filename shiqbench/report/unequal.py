"""What is UNEQUAL among the rows of a table, besides their algorithms: said above the table."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from shiqbench.report.ledger import data_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.report.ledger import Ledger
    from shiqbench.report.rows import Block, Row

ALIKE = 0.05  # updates that differ by less are equal: training ends with a whole batch
TOKENS_ALIKE = 0.1  # pairs and groups are drawn, and episodes are not equally long
SECONDS_ALIKE = 0.5
LEAST_SECONDS = 60.0
NAMED = 4  # more budgets are given by the smallest and the largest
ENGINE = ("engine", "engine_plugin")


def say_what_is_unequal(block: Block, ledger: Ledger) -> None:
    """Say above a table in which tuning, budgets and data its rows differ, and withhold "better" where they do.

    A note below it says that they are equal. Rows that train nothing are not compared in this, and neither is the
    start: the others contain it.
    """
    rows = [r for r in block.rows if r.trained and not r.is_start]
    tuning, budgets, data = _tuning(rows, ledger), _budgets(rows), _data(rows)
    block.above += [*tuning, *budgets, *data]
    if differ := ["tuning"] * bool(tuning) + ["budgets"] * bool(budgets):
        block.withheld = f"{' and '.join(differ)} of the rows differ"
        block.above.append(f"No row is called better: {block.withheld}")
    if len(rows) > 1 and not block.above:
        one_task = len({r.evaluations[0].cell.recipe.value["task"]["name"] for r in rows}) == 1
        block.notes.append("checked and equal: budgets, tuning" + ", data" * one_task)
    block.notes += _hardware(rows) or _seconds(rows)


def say_other_engines(blocks: Sequence[Block]) -> None:
    """Note in blocks that differ only in their engine that they do."""
    for block in blocks:
        others = [o for o in blocks if o.engine != block.engine and _but_engine(o) == _but_engine(block)]
        block.notes += [
            f"the same setting under another engine: {o.engine}, setting {o.setting}; numbers of two engines are not "
            "compared"
            for o in others
        ]


def _but_engine(block: Block) -> dict[str, object]:
    values = {k: v for k, v in block.values.items() if k not in ENGINE}
    eval_values = {k: v for k, v in (values.get("eval") or {}).items() if k not in ENGINE}
    return {**values, "eval": eval_values, "trials": block.trials}


def _tuning(rows: Sequence[Row], ledger: Ledger) -> list[str]:
    """Trials of tuning and, where the task says them, those that chose the values of the preset."""
    known = any(ledger.preset_trials(r.evaluations[0].cell) is not None for r in rows)

    def trials(r: Row) -> str:
        cell = r.evaluations[0].cell
        own, preset = ledger.trials(cell), ledger.preset_trials(cell)
        said = [f"{own} trials"] if own else []
        if known and preset != 0:
            said.append("trials of the preset unknown" if preset is None else f"preset chosen with {preset} trials")
        return ", ".join(said) or "none"

    return [f"UNEQUAL tuning: {_grouped(rows, trials)}"] if len({trials(r) for r in rows}) > 1 else []


def _budgets(rows: Sequence[Row]) -> list[str]:
    """Budgets are equal if updates and tokens of all passes are."""
    spent = {
        "updates": ([r.spent("updates") or 0.0 for r in rows], ALIKE),
        "tokens": ([r.train_tokens or 0.0 for r in rows], TOKENS_ALIKE),
    }
    unequal = [name for name, (found, alike) in spent.items() if found and min(found) < (1 - alike) * max(found)]
    if not unequal:
        return []

    def budget(r: Row) -> str:
        kinds = ", ".join(f"{kind} {tokens:.3g}" for kind, tokens in r.pass_tokens.items())
        said = f"{r.spent('updates') or 0:g} updates, {r.train_tokens:.3g} tokens"
        return said + (f" ({kinds})" if len(r.pass_tokens) > 1 else "")

    if len({budget(r) for r in rows}) > NAMED:
        ordered = sorted(rows, key=lambda r: (r.train_tokens or 0.0, r.spent("updates") or 0.0))
        ends = f"from {_grouped(ordered[:1], budget)} to {_grouped(ordered[-1:], budget)}"
        return [f"UNEQUAL budgets ({', '.join(unequal)}): {len(rows)} rows, {ends}"]
    return [f"UNEQUAL budgets ({', '.join(unequal)}): {_grouped(rows, budget)}"]


def _seconds(rows: Sequence[Row]) -> list[str]:
    """Seconds are a cost and no budget: the load of a machine can double the time of the same work."""
    timed = sorted((r for r in rows if r.train_seconds is not None), key=lambda r: r.train_seconds or 0.0)
    if not timed:
        return []
    least, most = (r.train_seconds or 0.0 for r in (timed[0], timed[-1]))
    if least >= (1 - SECONDS_ALIKE) * most or most - least <= LEAST_SECONDS:
        return []
    ends = f"{timed[0].name} {least:.3g} s, {timed[-1].name} {most:.3g} s"
    return [f"seconds of training differ by a factor of {most / max(least, 1e-9):.2g}: {ends}; they are no budget, "
            "because other work on a machine changes them"]  # fmt: skip


def _data(rows: Sequence[Row]) -> list[str]:
    """The same task may be trained on other files; other choices among the same files are settings, in the label."""
    tasks = {r.evaluations[0].cell.recipe.value["task"]["name"] for r in rows}
    found = {data_of(r.evaluations[0].cell) for r in rows}
    if len(found) < 2 or len(tasks) > 1:
        return []
    return [f"UNEQUAL data: {_grouped(rows, lambda r: data_of(r.evaluations[0].cell))}"]


def _hardware(rows: Sequence[Row]) -> list[str]:
    if len({r.hardware for r in rows}) < 2:
        return []
    return [f"hardware differs, so seconds are not compared: {_grouped(rows, lambda r: r.hardware or 'unknown')}"]


def _grouped(rows: Sequence[Row], what: Callable[[Row], str]) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for r in rows:
        found[what(r)].append(r.name)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in found.items())
