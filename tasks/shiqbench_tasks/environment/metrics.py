"""From records to metrics. Repeats of an example are one observation of the interval."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from shiqbench.plugin import Record, RunError, StopReason, clustered_wilson, stops, student_ratio, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence


def summarise(records: Sequence[Record]) -> dict[str, float]:
    """All metrics; episodes that crashed are counted and enter nothing else.

    Raises:
        RunError: Every episode crashed.
    """
    played = [r for r in records if r["stop"] != StopReason.ERROR]
    if not played:
        raise RunError(f"every episode crashed: {records[0]['error']}", where="task.environment", do="fix that")
    returns: dict[str, list[float]] = defaultdict(list)
    for r in played:
        returns[r["id"]].append(r["return"])
    sums, counts = [math.fsum(x) for x in returns.values()], [float(len(x)) for x in returns.values()]
    count = len(played)
    interval = clustered_wilson if all(r["return"] in (0, 1) for r in played) else student_ratio
    return {
        **with_interval("return", math.fsum(sums) / count, interval, sums, counts),
        "finished": sum(r["stop"] == StopReason.FINISHED for r in played) / count,
        "crashed": float(len(records) - count),
        "steps_per_episode": sum(r["steps"] for r in played) / count,
        "tokens_per_episode": sum(r["tokens"] for r in played) / count,
        "examples": float(len(returns)),
        **stops(records),
    }
