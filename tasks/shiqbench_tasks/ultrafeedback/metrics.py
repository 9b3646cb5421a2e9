"""From records to metrics. Intervals are over prompts; the repeats of one prompt are averaged first."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from shiqbench.plugin import Record, StopReason, clustered_wilson, student, student_ratio, wilson, with_interval
from shiqbench_tasks.ultrafeedback.judging import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def summarise(records: Sequence[Record]) -> dict[str, float]:
    """All metrics.

    Prompts that did not fit the context are counted (``stop_context_limit``) and enter nothing else: which ones they
    are does not depend on the weights.
    """
    answered = [r for r in records if r["stop"] != StopReason.CONTEXT_LIMIT]
    stops = Counter(r["stop"] for r in records)
    values = {
        **_mean("reward", answered, lambda r: r["reward"]),
        **_mean("chosen_reward", answered, lambda r: r["chosen_reward"]),
        **_mean("base_reward", answered, lambda r: r["base_reward"]),
        **_mean("reward_gain", answered, lambda r: r["reward"] - r["base_reward"]),
        **_share("win_chosen", answered, lambda r: r["win_chosen"]),
        **_share("win_base", answered, lambda r: r["win_base"]),
        **_divergence(answered),
        **_reward_model(answered),
        **judged(answered),
        "tokens_per_answer": fmean(r["tokens"] for r in answered),
        "words_per_answer": fmean(len(r["answer"].split()) for r in answered),
        "empty_answers": float(sum(not r["answer"].strip() for r in answered)),
        "distinct_1": distinct([r["answer"] for r in answered], 1),
        "unique_bigrams": distinct([r["answer"] for r in answered], 2),
        "length_correlation": correlation([r["tokens"] for r in answered], [r["reward"] for r in answered]),
        "prompts": float(len({r["id"] for r in answered})),
        **{f"stop_{stop}": float(stops[stop]) for stop in StopReason if stop != StopReason.STEP_LIMIT},
    }
    # Gained over the base per nat from the base: over a start's distance it would mix two origins.
    if all(r["reference"] == "base" for r in answered) and values.get("kl_k3", 0.0) > 0:
        gains, nats = (
            _clusters(answered, lambda r: r["reward"] - r["base_reward"]),
            _clusters(answered, lambda r: r["k3"]),
        )
        values |= with_interval("reward_per_nat", values["reward_gain"] / values["kl_k3"], student_ratio, gains, nats)
    return values


def _clusters(records: Sequence[Record], value: Callable[[Record], float]) -> list[float]:
    """Means of each prompt's repeats."""
    found: dict[str, list[float]] = defaultdict(list)
    for r in records:
        found[r["id"]].append(float(value(r)))
    return [fmean(values) for values in found.values()]


def _mean(name: str, records: Sequence[Record], value: Callable[[Record], float]) -> dict[str, float]:
    means = _clusters(records, value)
    return with_interval(name, fmean(means), student, means)


def _share(name: str, records: Sequence[Record], value: Callable[[Record], float]) -> dict[str, float]:
    means = _clusters(records, value)
    return with_interval(name, fmean(means), clustered_wilson, means, [1.0] * len(means))


def _divergence(records: Sequence[Record]) -> dict[str, float]:
    """KL to the reference, in nats per sequence and per token, by both estimators; empty for a served model."""
    if "k1" not in records[0]:
        return {}
    lengths = _clusters(records, lambda r: r["sample_tokens"])
    values: dict[str, float] = {}
    for name in ("k1", "k3"):
        values |= _mean(f"kl_{name}", records, lambda r, n=name: r[n])  # type: ignore[misc]
        nats = _clusters(records, lambda r, n=name: r[n])  # type: ignore[misc]
        values |= with_interval(f"kl_{name}_per_token", sum(nats) / sum(lengths), student_ratio, nats, lengths)
    return values


def _reward_model(records: Sequence[Record]) -> dict[str, float]:
    """What the reward model is worth; the same in every record."""
    right, longer, pairs = (int(records[0][k]) for k in ("held_out_right", "held_out_longer", "held_out_pairs"))
    low, high = wilson(right, pairs)
    return {
        "reward_accuracy": right / pairs,
        "reward_accuracy_low": low,
        "reward_accuracy_high": high,
        "reward_accuracy_pairs": float(pairs),
        "length_accuracy": longer / pairs,
        "reward_meaningless": float(low <= 0.5),
    }


def distinct(texts: Sequence[str], n: int) -> float:
    """Different word n-grams over all word n-grams of all texts; 0 where there is none.

    It falls with the length and with the number of texts. For n = 1 it is the distinct-1 of J. Li et al. (2016), arXiv
    1510.03055; their distinct-2 divides by words, so bigrams have another name here.
    """
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's; 0 where one of them does not vary."""
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = math.sqrt(math.fsum((x - mean_x) ** 2 for x in xs) * math.fsum((y - mean_y) ** 2 for y in ys))
    return covariance / spread if spread else 0.0
