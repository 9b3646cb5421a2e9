"""From records to metrics: lm-eval's own aggregation of each, with an interval over examples."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import LEAST_EXAMPLES, Z_95, Metrics, Primary, Record, clustered_wilson, student, wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_tasks.lm_eval.suites import Suites

RESAMPLES = 200  # of examples, for an aggregation that has no interval of its own
Interval = tuple[float, float]
Grouped = list[list[Any]]  # values by example; several where it was evaluated several times


def summarise(records: Sequence[Record], suites: Suites) -> Metrics:
    """Every metric of every suite; ``SUITE`` without a metric is its first, and the first suite's is the primary."""
    metrics: dict[str, float] = {}
    as_lm_eval: dict[str, dict[str, Any]] = {}
    for name, task in suites.tasks.items():
        mine = [r for r in records if r["suite"] == name]
        as_lm_eval[name] = {"sample_len": len({r["doc"] for r in mine})}
        for rule in dict.fromkeys(r["filter"] for r in mine):
            rows = [(r["doc"], json.loads(r["metrics"])) for r in mine if r["filter"] == rule]
            for metric in rows[0][1]:
                grouped = _by_example([(doc, values[metric]) for doc, values in rows if metric in values])
                value, interval, error = _score(grouped, task.aggregation().get(metric))
                _add(metrics, _label(name, metric, rule), value, interval, error)
                as_lm_eval[name] |= {f"{metric},{rule}": value, f"{metric}_stderr,{rule}": error or "N/A"}
    for name, group in suites.groups.items():
        members = {task.task_name for task in group.get_all_tasks()}
        examples = sum(as_lm_eval[name]["sample_len"] for name in members)
        _add_group(metrics, name, group.aggregate(as_lm_eval), examples)
    firsts = {suite: _first(metrics, head) for suite, head in suites.heads.items()}
    for suite, first in firsts.items():
        for end in ("", "_low", "_high"):
            if first + end in metrics:
                metrics[suite + end] = metrics[first + end]
    metrics |= {
        "examples": float(len({(r["suite"], r["doc"]) for r in records})),
        "answers_cut": float(sum(r["cut"] for r in records)),
        "answers_reduced": float(sum(r["reduced"] for r in records)),
    }
    name = firsts[next(iter(suites.heads))]
    return Metrics(Primary.of(metrics, name, higher_is_better=_higher_is_better(name, suites)), metrics)


def _label(suite: str, metric: str, rule: str) -> str:
    """As lm-eval names it; ``none`` is its word for an answer taken as it is."""
    return f"{suite}/{metric}" + ("" if rule == "none" else f",{rule}")


def _first(metrics: dict[str, float], head: str) -> str:
    return next(name for name in metrics if name.startswith(f"{head}/"))


def _higher_is_better(name: str, suites: Suites) -> bool:
    suite, _, metric = name.partition("/")
    tasks = [suites.tasks[suite]] if suite in suites.tasks else suites.groups[suite].get_all_tasks()
    return bool(tasks[0].higher_is_better().get(metric.partition(",")[0], True))


def _by_example(values: Sequence[tuple[int, Any]]) -> Grouped:
    grouped: dict[int, list[Any]] = {}
    for doc, value in values:
        grouped.setdefault(doc, []).append(value)
    return list(grouped.values())


def _score(grouped: Grouped, aggregate: Callable[[list[Any]], float] | None) -> tuple[float, Interval | None, float]:
    """The value, its interval, and lm-eval's standard error where the value is a mean (else 0)."""
    from lm_eval.api.metrics import mean, mean_stderr

    aggregate = aggregate or mean  # as lm-eval does where a metric names none
    flat = [value for values in grouped for value in values]
    value = float(aggregate(flat))
    error = float(mean_stderr([float(v) for v in flat])) if aggregate is mean and len(flat) > 1 else 0.0
    trials = _trials(flat)
    if len(grouped) < LEAST_EXAMPLES:
        return value, None, error
    if trials is not None and math.isclose(sum(map(sum, trials)) / sum(map(len, trials)), value):
        return value, _of_share(grouped), error
    if aggregate is mean:
        return value, student([math.fsum(v) / len(v) for v in grouped]), error
    return value, _bootstrap(grouped, aggregate, value), error


def _trials(values: Sequence[Any]) -> list[list[float]] | None:
    """Successes and failures behind each value, if that is what the values are."""
    lists = [v if isinstance(v, list) else [v] for v in values]
    right = all(isinstance(x, bool | int | float) and x in (0, 1) for inner in lists for x in inner)
    return lists if right and any(lists) else None


def _of_share(grouped: Grouped) -> Interval:
    per_example = [[float(x) for inner in _trials(values) or [] for x in inner] for values in grouped]
    if all(len(trials) == 1 for trials in per_example):
        return wilson(sum(map(sum, per_example)), len(per_example))
    return clustered_wilson([sum(t) for t in per_example], [len(t) for t in per_example])


def _bootstrap(grouped: Grouped, aggregate: Callable[[list[Any]], float], value: float) -> Interval:
    """Percentiles over resampled examples, the value itself included."""
    draw = random.Random(0)
    values = sorted(
        float(aggregate([v for values in draw.choices(grouped, k=len(grouped)) for v in values]))
        for _ in range(RESAMPLES)
    )
    return min(value, values[int(0.025 * RESAMPLES)]), max(value, values[int(0.975 * RESAMPLES) - 1])


def _add(metrics: dict[str, float], name: str, value: float, interval: Interval | None, error: float) -> None:
    metrics[name] = value
    if interval is not None:
        metrics |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    if error:
        metrics[f"{name}_stderr"] = error


def _add_group(metrics: dict[str, float], name: str, aggregated: dict[str, Any], examples: int) -> None:
    """A group's own metrics: lm-eval's pooled standard error gives the interval."""
    for key, value in aggregated.items():
        metric, comma, rule = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            error = aggregated.get(f"{metric}_stderr,{rule}")
            error = error if isinstance(error, float) else 0.0
            interval = (value - Z_95 * error, value + Z_95 * error) if error and examples >= LEAST_EXAMPLES else None
            _add(metrics, _label(name, metric, rule), float(value), interval, error)
