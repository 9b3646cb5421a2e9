"""Rows of any source become prompts with answers, checked, counted and split by prompt."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Message, Split
from shiqbench_tasks.ultrafeedback.columns import resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from shiqbench_tasks.ultrafeedback.columns import Columns
    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Answer:
    """A recorded answer.

    Attributes:
        text: What was answered.
        who: ``chosen``, ``rejected``, or the model that wrote it.
        rating: None where the source has none and none is asked for.
    """

    text: str
    who: str
    rating: float | None

    def earns(self, returns: str) -> float:
        """Its rating, or 1 if it was chosen."""
        if returns == "preference":
            return float(self.who == "chosen")
        assert self.rating is not None
        return self.rating


@dataclass(frozen=True)
class Prompt:
    """A prompt and its answers.

    Attributes:
        id: First digits of the sha256 of its messages.
        messages: All but the answer.
        answers: In the order of the source.
        split: Which it belongs to, whole.
    """

    id: str
    messages: Conversation
    answers: tuple[Answer, ...]
    split: Split


@dataclass
class Data:
    """The whole data set.

    Attributes:
        prompts: By split, in the order of their hashes.
        counts: What was read, merged and left out.
    """

    prompts: dict[Split, list[Prompt]]
    counts: dict[str, int] = field(default_factory=dict)


def own_split(source_split: str) -> Split | None:
    """What a source's split is for, where its name says so."""
    if source_split.startswith(("test", "eval")):
        return "test"
    return "validation" if source_split.startswith(("val", "dev")) else None


def split_of(prompt_sha256: str, source_split: str, owned: Collection[Split | None]) -> Split:
    """The split of a prompt: the source's own, or else by the prompt's hash.

    Args:
        prompt_sha256: Decides for prompts of a source's training split: a tenth goes to test and a tenth to
            validation, where the source has no such split itself.
        source_split: Where the prompt was found.
        owned: What the source has splits for.
    """
    own = own_split(source_split)
    if own is not None:
        return own
    by_hash: dict[int, Split] = {0: "test", 1: "validation"}
    split = by_hash.get(int(prompt_sha256[:8], 16) % 10, "train")
    return "train" if split in owned else split


def read(rows: Iterable[tuple[str, int, dict[str, Any]]], config: UltraFeedbackConfig, where: str) -> Data:
    """Check and sort all rows.

    Args:
        rows: Split name, number and content.
        config: Columns, returns, limits.
        where: The source, for messages.

    Raises:
        ConfigError: A column is missing, a rating is none or out of range, or nothing is left.
    """
    counts: Counter[str] = Counter()
    merged: dict[str, Prompt] = {}
    first: list[Split | None] = ["test", "validation", None]  # keeps a prompt that is in several splits
    kept = sorted(rows, key=lambda r: first.index(own_split(r[0])))
    columns = resolve([row for _, _, row in kept], config, where)
    owned = {own_split(name) for name, _, _ in kept}
    for name, number, row in kept:
        counts["rows"] += 1
        place = f"{where}, {name} row {number}"
        prompt = _prompt(columns, row, place)
        if prompt is None:
            counts["empty_prompts"] += 1
            continue
        answers = [_answer(*found, config, place) for found in columns.answers(row, place)]
        full = [a for a in answers if a.text.strip()]
        counts["empty_answers"] += len(answers) - len(full)
        sha256 = _sha256(prompt)
        made = Prompt(sha256[:16], prompt, tuple(full), split_of(sha256, name, owned))
        known = merged.get(sha256)
        if known is None:
            merged[sha256] = made
        elif known.split == made.split:
            counts["merged_rows"] += 1
            merged[sha256] = replace(known, answers=known.answers + made.answers)
        else:
            counts["rows_of_another_split"] += 1  # which keeps the prompt
    return _within_limits(merged, config, counts, where)


def _within_limits(merged: dict[str, Prompt], config: UltraFeedbackConfig, counts: Counter[str], where: str) -> Data:
    prompts: dict[Split, list[Prompt]] = {"train": [], "validation": [], "test": []}
    for _, prompt in sorted(merged.items()):
        length = sum(len(m.content) for m in prompt.messages)
        if config.longest_prompt is not None and length > config.longest_prompt:
            counts["long_prompts"] += 1
            continue
        if not prompt.answers:
            counts["prompts_without_answers"] += 1
            continue
        prompts[prompt.split].append(prompt)
    for split, found in prompts.items():
        if not found:
            raise ConfigError(
                f"no prompt for {split} among {counts['rows']} rows",
                where=where,
                do="give more data, or raise task.longest_prompt",
            )
        counts[f"{split}_prompts"] = len(found)
        counts[f"{split}_answers"] = sum(len(p.answers) for p in found)
    return Data(prompts, dict(counts))


def _prompt(columns: Columns, row: dict[str, Any], place: str) -> Conversation | None:
    messages = columns.prompt(row, place)
    return messages if any(m.content.strip() for m in messages) else None


def _answer(text: str, who: str, score: Any, config: UltraFeedbackConfig, place: str) -> Answer:
    return Answer(text, who, None if config.returns == "preference" else rating(score, config, place))


def rating(value: Any, config: UltraFeedbackConfig, place: str) -> float:
    """A rating as a number within its range.

    Raises:
        ConfigError: It is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(
            f"a rating is {value!r}", where=place, do="mend the data, or --set task.returns=preference"
        ) from None
    if not math.isfinite(number) or not config.rating_low <= number <= config.rating_high:
        raise ConfigError(
            f"a rating is {number:g}, outside [{config.rating_low:g}, {config.rating_high:g}]",
            where=place,
            do="mend the data, or set task.rating_low and task.rating_high",
        )
    return number


def _sha256(messages: Conversation) -> str:
    return hashlib.sha256(json.dumps([(m.role, m.content) for m in messages]).encode()).hexdigest()
