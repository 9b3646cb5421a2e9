"""From records to metrics. Intervals are over prompts; the repeats of one prompt are averaged first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from shiqbench.plugin import Record, StopReason, student_ratio, with_interval
from shiqbench_tasks.answers.judging import judged
from shiqbench_tasks.answers.metrics import (
    clusters,
    correlation,
    divergence,
    mean_over,
    reward_model,
    share_over,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def summarise(records: Sequence[Record]) -> dict[str, float]:
    """All metrics.

    Prompts that did not fit the context are counted (``stop_context_limit``) and enter nothing else: which ones they
    are does not depend on the weights.
    """
    answered = [r for r in records if r["stop"] != StopReason.CONTEXT_LIMIT]
    stops = Counter(r["stop"] for r in records)
    values = {
        **mean_over("reward", answered, lambda r: r["reward"]),
        **mean_over("chosen_reward", answered, lambda r: r["chosen_reward"]),
        **mean_over("base_reward", answered, lambda r: r["base_reward"]),
        **mean_over("reward_gain", answered, lambda r: r["reward"] - r["base_reward"]),
        **share_over("win_chosen", answered, lambda r: r["win_chosen"]),
        **share_over("win_base", answered, lambda r: r["win_base"]),
        **divergence(answered),
        **reward_model(answered),
        **judged(answered),
        **texts(answered),
        "length_correlation": correlation([r["tokens"] for r in answered], [r["reward"] for r in answered]),
        "prompts": float(len({r["id"] for r in answered})),
        **{f"stop_{stop}": float(stops[stop]) for stop in StopReason if stop != StopReason.STEP_LIMIT},
    }
    # Gained over the base per nat from the base: over a start's distance it would mix two origins.
    if all(r["reference"] == "base" for r in answered) and values.get("kl_k3", 0.0) > 0:
        gains, nats = (
            clusters(answered, lambda r: r["reward"] - r["base_reward"]),
            clusters(answered, lambda r: r["k3"]),
        )
        values |= with_interval("reward_per_nat", values["reward_gain"] / values["kl_k3"], student_ratio, gains, nats)
    return values
