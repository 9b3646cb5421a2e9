"""Metrics of answers. Intervals are over prompts; the repeats of one prompt are averaged first."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from shiqbench.plugin import Record, clustered_wilson, student, student_ratio, wilson, with_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAR = 1.0  # nats a token; farther away, k3 has a heavy tail


def texts(answered: Sequence[Record]) -> dict[str, float]:
    """Lengths and variety of the answers."""
    return {
        "tokens_per_answer": fmean(r["tokens"] for r in answered),
        "words_per_answer": fmean(len(r["answer"].split()) for r in answered),
        "empty_answers": float(sum(not r["answer"].strip() for r in answered)),
        "distinct_1": distinct([r["answer"] for r in answered], 1),
        "unique_bigrams": distinct([r["answer"] for r in answered], 2),
    }


def clusters(records: Sequence[Record], value: Callable[[Record], float], unit: str = "id") -> list[float]:
    """Means of the records of each unit: of a prompt's repeats, or of a group."""
    found: dict[str, list[float]] = defaultdict(list)
    for r in records:
        found[r[unit]].append(float(value(r)))
    return [fmean(values) for values in found.values()]


def mean_over(
    name: str, records: Sequence[Record], value: Callable[[Record], float], unit: str = "id"
) -> dict[str, float]:
    """The mean over units, with its interval."""
    means = clusters(records, value, unit)
    return with_interval(name, fmean(means), student, means)


def share_over(name: str, records: Sequence[Record], value: Callable[[Record], float]) -> dict[str, float]:
    """The mean of values between 0 and 1, with its interval."""
    means = clusters(records, value)
    return with_interval(name, fmean(means), clustered_wilson, means, [1.0] * len(means))


def divergence(records: Sequence[Record], unit: str = "id") -> dict[str, float]:
    """KL to the reference, in nats per sequence and per token, by both estimators; empty for a served model."""
    if "k1" not in records[0]:
        return {}
    lengths = clusters(records, lambda r: r["sample_tokens"], unit)
    values: dict[str, float] = {}
    for name in ("k1", "k3"):
        values |= mean_over(f"kl_{name}", records, lambda r, n=name: r[n], unit)  # type: ignore[misc]
        nats = clusters(records, lambda r, n=name: r[n], unit)  # type: ignore[misc]
        values |= with_interval(f"kl_{name}_per_token", sum(nats) / sum(lengths), student_ratio, nats, lengths)
    return values


def reward_model(records: Sequence[Record]) -> dict[str, float]:
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
