"""The tables of a report over tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shiqbench.base.words import counted, listed
from shiqbench.report.cells import text_frame
from shiqbench.report.estimates import Estimate
from shiqbench.report.numbers import freedoms, short_number
from shiqbench.report.rows import TextTable
from shiqbench.report.smallest import LEVEL
from shiqbench.stats.aggregate import (
    interval_of,
    interval_of_improvement,
    interval_of_mean,
    iqm,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
)
from shiqbench.stats.intervals import LEAST_EXAMPLES
from shiqbench.stats.ranks import LEAST_ALGORITHMS, LEAST_TASKS
from shiqbench.stats.two_way import interval_of_mean as interval_in_a_task

if TYPE_CHECKING:
    from shiqbench.report.aggregate.scores import Aggregate, Normalised
    from shiqbench.stats.aggregate import Array, Statistic
    from shiqbench.stats.two_way import Interval

MOST_PAIRS = 10  # pairs that are listed one by one


def aggregate_tables(of: Aggregate | None) -> list[TextTable]:
    """Per task, over tasks, and the probability of improvement over the baseline; see :attr:`Aggregate.why_not`."""
    if of is None or not of.tasks:
        return []
    if of.why_not:
        return [_per_task(of)]
    found = [_per_task(of), _over_tasks(of)]
    return [*found, _improvement(of, of.baseline)] if of.baseline is not None else found


def _per_task(of: Aggregate) -> TextTable:
    head = ["task", "algorithm", "value [95 %]", "normalised [95 %]", "rank", "examples", "seeds"]
    lines = []
    for task in of.tasks:
        for name, found in task.rows.items():
            values = [str(found.row.estimate), str(_in_task(found)), f"{task.ranks[name]:g}"]
            counts = [str(found.scores.shape[-1]), str(len(found.row.seeds) or "-")]
            lines.append([task.name, name, *values, *counts])
    notes = ["ranks are among all rows of a task"]
    if of.why_not:
        notes += [f"no aggregate over tasks: {of.why_not}", *_not_used(of)]
    return TextTable("Per task", text_frame(head, lines), notes)


def _over_tasks(of: Aggregate) -> TextTable:
    head = ["algorithm", "seeds", "mean [95 %]", "median", "IQM [95 %]", "optimality gap [95 %]", "mean rank"]
    lines = []
    for name, ranks in zip(of.names, of.ranks, strict=True):
        scores = of.scores[name]
        seeds = str(len(scores)) if of.trained(name) else "-"
        middle = [str(of_mean(of, name)), short_number(float(median(scores)))]
        resampled = [str(_bootstrapped(of, name, statistic)) for statistic in (iqm, optimality_gap)]
        lines.append([name, seeds, *middle, *resampled, f"{ranks.mean():.2f}"])
    return TextTable(f"Aggregate over {counted(len(of.tasks), 'task')}", text_frame(head, lines), _notes(of))


def _improvement(of: Aggregate, baseline: str) -> TextTable:
    head = ["algorithm", f"above {baseline} [95 %]", "seeds"]
    theirs, lines = of.scores[baseline], []
    for name in of.names:
        if name == baseline:
            continue
        mine = of.scores[name]
        sides = [len(of.scores[n]) for n in (name, baseline) if of.trained(n)]
        value = float(probability_of_improvement(mine, theirs))
        lines.append([name, str(_estimate(value, interval_of_improvement(mine, theirs)))])
        lines[-1].append(" against ".join(str(k) for k in dict.fromkeys(sides)) or "-")
    notes = [
        f"the chance that one seed is above a seed of {baseline} on the same task, the mean over "
        f"{counted(len(of.tasks), 'task')}; a tie is 1/2; 95 % intervals over seeds, for these examples and tasks; "
        "cautious"
    ]
    return TextTable(f"Probability of improvement over {baseline}", text_frame(head, lines), notes)


def of_mean(of: Aggregate, name: str) -> Estimate:
    """The mean over tasks of a row, with its interval over examples and seeds."""
    scores, spread = of.scores[name], of.spread(name)
    found = interval_of_mean(scores, spread) if spread is not None and of.trained(name) else None
    return _estimate(float(mean(scores)), found)


def _bootstrapped(of: Aggregate, name: str, statistic: Statistic) -> Estimate:
    scores, spread = of.scores[name], of.spread(name)
    return _estimate(
        float(statistic(scores)), interval_of(statistic, scores, spread) if spread and of.trained(name) else None
    )


def _in_task(of: Normalised) -> Estimate:
    scores: Array = of.scores
    enough = of.row.trained and scores.shape[-1] >= LEAST_EXAMPLES
    return _estimate(float(scores.mean()), interval_in_a_task(scores) if enough else None)


def _estimate(value: float, interval: Interval | None) -> Estimate:
    if interval is None:
        return Estimate(value, None, None, "")
    return Estimate(value, float(interval.low), float(interval.high), "", float(interval.df))


def _notes(of: Aggregate) -> list[str]:
    ends = ", ".join(f"{t.name} {short_number(t.zero)} to {t.top:g}" for t in of.tasks)
    found = [f"normalised scores: 0 is the untrained row, 1 is the top of the metric ({ends})"]
    found += _not_used(of)
    trained = [n for n in of.names if of.trained(n)]
    if said := freedoms(of_mean(of, n).df for n in trained):
        found.append(
            f"95 % intervals: over examples and seeds, for these tasks ({said[0]}); the median has none, because it is "
            "biased with few tasks"
        )
    if lacking := [n for n in trained if of.spread(n) is None]:
        found.append(f"no interval: fewer than {LEAST_EXAMPLES} examples in a task ({', '.join(lacking)})")
    return [*found, _ranking(of)]


def _not_used(of: Aggregate) -> list[str]:
    return [f"not used: {'; '.join(of.left_out)}"] if of.left_out else []


def _ranking(of: Aggregate) -> str:
    if of.test is None:
        return f"ranks are not tested: that needs {LEAST_ALGORITHMS} rows that differ and {LEAST_TASKS} tasks"
    differ = [f"{of.names[a]} and {of.names[b]}" for a, b in np.argwhere(np.triu(of.test.pairs < LEVEL, 1))]
    pairs = listed(differ, MOST_PAIRS) or "no pair"
    return f"ranks: Friedman's test p = {of.test.p:.2g}; by Nemenyi's test differ: {pairs}"
