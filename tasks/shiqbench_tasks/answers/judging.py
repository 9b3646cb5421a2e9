"""Wins in the eyes of a language model: a judge's opinions as columns of records, and as metrics."""

from __future__ import annotations

import json
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Record, cache_dir, digest, lock, short, win_rate, win_rate_at_equal_length
from shiqbench_tasks.answers.judge import Judge, Opinion, Pair, identity
from shiqbench_tasks.rows.conversations import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench_tasks.answers.question import Question
from shiqbench_tasks.answers.judge import JudgeConfig

SAME = Opinion(0.5, (0.5, 0.5))  # the same text twice; nobody needs to be asked
OPPONENTS = ("chosen", "base")


def check(config: JudgeConfig) -> None:
    """Refuse a judge that is not there, before anything is written.

    Raises:
        ConfigError: The endpoint does not answer, or does not serve the model.
    """
    Judge(config, _folder(config) / "replies.jsonl").check()


def _folder(config: JudgeConfig) -> Any:
    return cache_dir() / "judge" / short(digest(identity(config)))


def add_opinions(
    config: JudgeConfig, records: Sequence[Record], prompts: Sequence[Question], others: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Ask for every record, against each opponent; what was asked before, by whichever cell, is not asked again.

    Args:
        config: The judge.
        records: Those with an answer; they are given the columns.
        prompts: What each of them answers.
        others: Opponent to its answers.

    Returns:
        How many replies were asked for, kept from before, failed or unreadable, and what they cost.
    """
    folder = _folder(config)
    with lock(folder):  # two processes must not write one file
        judge = Judge(config, folder / "replies.jsonl")
        for name, answers in others.items():
            asked = [r["answer"] != other for r, other in zip(records, answers, strict=True)]
            pairs = [
                Pair(_text(p), r["answer"], other)
                for r, p, other, ask in zip(records, prompts, answers, asked, strict=True)
                if ask
            ]
            opinions = iter(judge.compare(pairs))
            for r, other, ask in zip(records, answers, asked, strict=True):
                opinion = next(opinions) if ask else SAME
                r |= {
                    f"judged_{name}": opinion.preference,
                    f"judged_{name}_first": opinion.orders[0],
                    f"judged_{name}_second": opinion.orders[1],
                    f"judged_{name}_by_order": opinion.by_order,
                    f"judged_{name}_problems": json.dumps(opinion.problems),
                    f"longer_{name}": len(r["answer"]) - len(other),
                }
    return judge.facts


def _text(prompt: Question) -> str:
    if len(prompt.asked) == 1:
        return prompt.asked[0].content
    return "\n\n".join(f"{m.role}: {as_text(m)}" for m in prompt.asked)


def judged(records: Sequence[Record]) -> dict[str, float]:
    """Win rates with intervals over prompts, plain and at equal length; pairs without an opinion are counted.

    Where fewer than two prompts have an opinion there is no win rate at all.
    """
    values: dict[str, float] = {}
    for name in OPPONENTS:
        if f"judged_{name}" not in records[0]:
            continue
        preferences: dict[str, list[float]] = defaultdict(list)
        longer: dict[str, list[float]] = defaultdict(list)
        for r in records:
            if r[f"judged_{name}"] is not None:
                preferences[r["id"]].append(r[f"judged_{name}"])
                longer[r["id"]].append(r[f"longer_{name}"])
        values[f"judge_{name}_failed"] = float(sum(r[f"judged_{name}"] is None for r in records))
        if len(preferences) < 2:
            continue
        means, differences = [fmean(v) for v in preferences.values()], [fmean(v) for v in longer.values()]
        for metric, found in (
            (f"judge_win_{name}", win_rate(means)),
            (f"judge_win_{name}_at_equal_length", win_rate_at_equal_length(means, differences)),
        ):
            values |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), found, strict=True))
        values[f"judge_{name}_by_order"] = fmean(float(r[f"judged_{name}_by_order"]) for r in records)
    return values
