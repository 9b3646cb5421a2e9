"""From records to metrics. Turns and repeats of one group are one observation of every interval."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from shiqbench.plugin import Record, RunError, StopReason, clustered_wilson, student_ratio, with_interval
from shiqbench_tasks.answers.judging import judged
from shiqbench_tasks.answers.metrics import correlation, divergence, reward_model, texts

if TYPE_CHECKING:
    from collections.abc import Sequence


def summarise(records: Sequence[Record]) -> dict[str, float]:
    """All metrics.

    Turns that did not fit the context are counted (``stop_context_limit``) and enter nothing else: which ones they
    are does not depend on the weights. Answers on which a judge has no opinion are counted and have no score.

    Raises:
        RunError: No answer has a score.
    """
    answered = [r for r in records if r["stop"] != StopReason.CONTEXT_LIMIT]
    scored = [r for r in answered if r["score"] is not None]
    if not scored:
        raise RunError("no answer has a score", where="task.judge", do="see the judge's replies in the records")
    stops = Counter(r["stop"] for r in records)
    found: dict[str, list[float]] = defaultdict(list)
    for r in scored:
        found[r["group"]].append(r["score"])
    sums, counts = [math.fsum(scores) for scores in found.values()], [float(len(s)) for s in found.values()]
    trials = all(r["score"] in (0, 1) for r in scored)
    interval = clustered_wilson if trials else student_ratio
    return {
        **with_interval("score", math.fsum(sums) / len(scored), interval, sums, counts),
        **divergence(answered, unit="group"),
        **(reward_model(answered) if "held_out_pairs" in answered[0] else {}),
        **(judged(answered) if "judged_chosen" in answered[0] else {}),
        **texts(answered),
        "length_correlation": correlation([r["tokens"] for r in scored], [r["score"] for r in scored]),
        "turns": float(len({r["id"] for r in answered})),
        "groups": float(len({r["group"] for r in answered})),
        "unscored": float(len(answered) - len(scored)),
        **{f"stop_{stop}": float(stops[stop]) for stop in StopReason if stop != StopReason.STEP_LIMIT},
    }
