"""From prompts with answers to episodes with returns, and to pairs for reward models."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from shiqbench.plugin import Episode, Message, Pair
from shiqbench_tasks.rows.returns import Transformation
from shiqbench_tasks.rows.returns import transformation as constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
    from shiqbench_tasks.ultrafeedback.data import Prompt
    from shiqbench_tasks.ultrafeedback.rows import Answer


def transformation(training: Sequence[Prompt], config: UltraFeedbackConfig) -> Transformation:
    """The constants, from the training answers alone.

    Raises:
        ConfigError: All training answers earn the same, and their deviation was to be the unit.
    """
    earned = [p.earned + a.earns(config.returns) for p in training for a in p.answers]
    return constants(earned, config.centre, config.scale, config.rating_high - config.rating_low)


def without_long_answers(prompts: Sequence[Prompt], longest: int | None) -> list[Prompt]:
    """Prompts without the answers that have more characters, and without those that have no other."""
    if longest is None:
        return list(prompts)
    found = [replace(p, answers=tuple(a for a in p.answers if len(a.text) <= longest)) for p in prompts]
    return [p for p in found if p.answers]


def compared(prompt: Prompt) -> list[tuple[Answer, Answer]]:
    """The two answers of every stated comparison, or all pairs of rated answers; no text is in a pair with itself."""
    return [(a, b) for a, b in combinations(prompt.answers, 2) if a.comparison == b.comparison]


def tied_pairs(prompts: Sequence[Prompt], returns: str) -> int:
    """Pairs of one prompt's answers that earned the same: pair-based algorithms do not see them."""
    return sum(a.earns(returns) == b.earns(returns) for p in prompts for a, b in compared(p))


def as_episodes(prompts: Sequence[Prompt], config: UltraFeedbackConfig, how: Transformation) -> list[Episode]:
    """One episode per answer, its return on the answer; those of a prompt are a group. Ties are kept.

    If a prompt has several stated comparisons, each is a group: answers of two of them were never compared.
    """
    found = []
    for prompt in prompts:
        groups: dict[int | None, list[float]] = defaultdict(list)
        for answer in prompt.answers:
            groups[answer.comparison].append(prompt.earned + answer.earns(config.returns))
        before = tuple(m if m.reward is None else replace(m, reward=m.reward / how.scale) for m in prompt.messages)
        for number, answer in enumerate(prompt.answers):
            value = answer.earns(config.returns)
            centre = fmean(groups[answer.comparison]) if how.centre is None else how.centre
            reward = (value - centre) / how.scale
            said = Message("assistant", answer.text, action=True, reward=reward, extra=answer.extra)
            found.append(
                Episode(
                    id=f"{prompt.id}-{number}",
                    group=prompt.id if len(groups) == 1 else f"{prompt.id}/{answer.comparison}",
                    behaviour=answer.who,
                    messages=(*before, said),
                    tools=prompt.tools,
                    meta={"earned": prompt.earned + value, "centre": config.centre, **how.meta()},
                )
            )
    return found


def pairs(prompts: Sequence[Prompt], returns: str) -> list[Pair]:
    """All pairs of a prompt's answers that were compared and did not earn the same, the better one first."""
    found = []
    for prompt in prompts:
        for a, b in compared(prompt):
            difference = a.earns(returns) - b.earns(returns)
            if difference:
                better, worse = (a, b) if difference > 0 else (b, a)
                found.append(Pair(prompt.asked, better.text, worse.text))
    return found


def chosen(prompt: Prompt, returns: str) -> str:
    """The best answer of the data, the first of equals; among stated ones, one that no other was preferred to."""
    worse = {a.key for a in prompt.answers if returns == "preference" and a.who != "chosen"}
    return max(prompt.answers, key=lambda a: (a.earns(returns), a.key not in worse)).text
