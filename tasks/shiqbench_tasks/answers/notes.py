"""What must be said wherever metrics of answers are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.plugin import StopReason
from shiqbench_tasks.answers.judging import OPPONENTS
from shiqbench_tasks.answers.metrics import FAR

if TYPE_CHECKING:
    from collections.abc import Mapping


def of_reward_model(name: str, metrics: Mapping[str, float]) -> str:
    """What the reward model is worth."""
    low, high = metrics["reward_accuracy_low"], metrics["reward_accuracy_high"]
    accuracy, longer = metrics["reward_accuracy"], metrics["length_accuracy"]
    worth = (
        f"reward model {name}: accuracy {accuracy:.3f} [{low:.3f}, {high:.3f}] on "
        f"{metrics['reward_accuracy_pairs']:.0f} held-out pairs; preferring the longer answer {longer:.3f}"
    )
    if metrics["reward_meaningless"]:
        worth += "; no better than chance: every reward and win rate here is MEANINGLESS"
    elif low <= longer:
        worth += "; not shown to be better than preferring the LONGER answer: a reward here may be a length"
    return worth


def of_answers(metrics: Mapping[str, float]) -> list[str]:
    """Answers that were cut, the distance if it is missing or large, and answers that a judge left open."""
    answers = sum(metrics.get(f"stop_{stop}", 0.0) for stop in StopReason if stop != StopReason.CONTEXT_LIMIT)
    cut = metrics.get("stop_token_limit", 0.0)
    limits = [f"{cut:.0f} of {answers:.0f} answers are cut at eval.max_tokens"] if cut else []
    if "kl_k3" not in metrics:
        limits.append("no distance from the reference: a served model gives no log-probabilities")
    if metrics.get("kl_k3_per_token", 0.0) > FAR:
        limits.append(
            f"KL k3 is {metrics['kl_k3_per_token']:.2g} nats a token: above {FAR:g} its 95 % interval holds the "
            "truth in 73 to 90 of 100 cases; kl_k1 has no such tail"
        )
    silent = [
        f"judge: {metrics[name]:.0f} comparisons with {opponent} have no opinion and are in no win rate"
        for opponent in OPPONENTS
        if metrics.get(name := f"judge_{opponent}_failed")
    ]
    return [*limits, *silent]
