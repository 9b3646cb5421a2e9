"""From prompts with answers to episodes with returns, and to pairs for reward models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Episode, Message, Pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
    from shiqbench_tasks.ultrafeedback.data import Prompt


@dataclass(frozen=True)
class Transformation:
    """``(earned - centre) / scale``, as the configuration asks; both numbers go to the manifest.

    Attributes:
        centre: Mean of the training answers; None where each prompt has its own.
        scale: What is divided by.
    """

    centre: float | None
    scale: float


def transformation(training: Sequence[Prompt], config: UltraFeedbackConfig) -> Transformation:
    """The constants, from the training answers alone.

    Raises:
        ConfigError: All training answers earn the same, and their deviation was to be the unit.
    """
    earned = [a.earns(config.returns) for p in training for a in p.answers]
    centre = {"none": 0.0, "dataset": fmean(earned), "group": None}[config.centre]
    scale = 1.0
    if config.scale == "range":
        scale = config.rating_high - config.rating_low
    elif config.scale == "deviation":
        scale = pstdev(earned)
        if scale == 0:
            raise ConfigError("all answers earn the same", where="task.scale=deviation", do="--set task.scale=none")
    return Transformation(centre, scale)


def without_long_answers(prompts: Sequence[Prompt], longest: int | None) -> list[Prompt]:
    """Prompts without the answers that have more characters, and without those that have no other."""
    if longest is None:
        return list(prompts)
    found = [replace(p, answers=tuple(a for a in p.answers if len(a.text) <= longest)) for p in prompts]
    return [p for p in found if p.answers]


def tied_pairs(prompts: Sequence[Prompt], returns: str) -> int:
    """Pairs of one prompt's answers that earned the same: pair-based algorithms do not see them."""
    return sum(a.earns(returns) == b.earns(returns) for p in prompts for a, b in combinations(p.answers, 2))


def as_episodes(prompts: Sequence[Prompt], config: UltraFeedbackConfig, how: Transformation) -> list[Episode]:
    """One episode per answer, its return on the answer; those of a prompt are a group. Ties are kept."""
    found = []
    for prompt in prompts:
        earned = [a.earns(config.returns) for a in prompt.answers]
        centre = fmean(earned) if how.centre is None else how.centre
        for number, (answer, value) in enumerate(zip(prompt.answers, earned, strict=True)):
            said = Message("assistant", answer.text, action=True, reward=(value - centre) / how.scale)
            found.append(
                Episode(
                    id=f"{prompt.id}-{number}",
                    group=prompt.id,
                    behaviour=answer.who,
                    messages=(*prompt.messages, said),
                    meta={"earned": value},
                )
            )
    return found


def pairs(prompts: Sequence[Prompt], returns: str) -> list[Pair]:
    """All pairs of a prompt's answers that did not earn the same, the better one first."""
    found = []
    for prompt in prompts:
        for a, b in combinations(prompt.answers, 2):
            difference = a.earns(returns) - b.earns(returns)
            if difference:
                better, worse = (a, b) if difference > 0 else (b, a)
                found.append(Pair(prompt.messages, better.text, worse.text))
    return found


def chosen(prompt: Prompt, returns: str) -> str:
    """The best answer of the data, the first of equals."""
    return max(prompt.answers, key=lambda a: a.earns(returns)).text
