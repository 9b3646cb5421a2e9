"""Rows of any source become prompts with answers, checked, merged, counted and split by prompt."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Split
from shiqbench_tasks.rows.bad_rows import BadRow, BadRows, Place
from shiqbench_tasks.rows.conversations import Conversation, without_rewards
from shiqbench_tasks.rows.splits import own_split, split_of, texts_sha256, whole_sha256
from shiqbench_tasks.ultrafeedback import told
from shiqbench_tasks.ultrafeedback.columns import resolve
from shiqbench_tasks.ultrafeedback.merging import compared, rated
from shiqbench_tasks.ultrafeedback.rows import checked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
    from shiqbench_tasks.ultrafeedback.rows import Answer, Row


@dataclass(frozen=True)
class Prompt:
    """A prompt and its answers.

    Attributes:
        id: First digits of the sha256 of its messages and tools.
        messages: All but the answer; messages with rewards are actions.
        tools: Tool documents that it offers.
        answers: In the order of the source.
        split: Which it belongs to, whole.
    """

    id: str
    messages: Conversation
    tools: tuple[dict[str, Any], ...]
    answers: tuple[Answer, ...]
    split: Split

    @property
    def asked(self) -> Conversation:
        """The messages as a model is asked: none of them is an action."""
        return without_rewards(self.messages)

    @property
    def earned(self) -> float:
        """The rewards before the answer."""
        return sum(m.reward or 0.0 for m in self.messages)


@dataclass
class Data:
    """The whole data set.

    Attributes:
        prompts: By split, in the order of their hashes.
        counts: What was read, merged, changed and left out.
        bad: Rows that could not be used.
        places_of: Rows of some of what is left out, by the name of its count.
        unread: Keys of messages that mean nothing here -> rows that have them.
        unread_columns: Columns that no role has.
    """

    prompts: dict[Split, list[Prompt]]
    counts: Counter[str]
    bad: BadRows = field(default_factory=BadRows)
    places_of: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    unread: dict[str, int] = field(default_factory=dict)
    unread_columns: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """For manifests."""
        counts = {name: count for name, count in self.counts.items() if count}
        unread = {"unread_keys": self.unread, "unread_columns": self.unread_columns}
        return {**counts, "bad_rows": self.bad.facts(), **unread}


def read(rows: Iterable[tuple[str, int, dict[str, Any]]], config: UltraFeedbackConfig, where: str) -> Data:
    """Check and sort all rows.

    Args:
        rows: Split name, number from 0, and content.
        config: Columns, returns, limits.
        where: The source, for messages.

    Raises:
        ConfigError: A column is missing, rows cannot be used and are not to be skipped, or nothing is left.
    """
    counts: Counter[str] = Counter()
    bad, unread, empty = BadRows("name the right columns by task.columns"), Counter[str](), list[Place]()
    first: list[Split | None] = ["test", "validation", None]  # keeps a prompt that is in several splits
    kept = sorted(rows, key=lambda r: first.index(own_split(r[0])))
    columns = resolve([row for _, _, row in kept], config, where)
    owned = {own_split(name) for name, _, _ in kept}
    groups: dict[str, list[tuple[Place, Row]]] = {}
    splits: dict[str, Split] = {}  # of texts: prompts that differ in their tools only are in one split
    for name, number, content in kept:
        place = Place(name, number + 1)
        counts["rows"] += 1
        try:
            row = checked(content, columns, config)
        except BadRow as found:
            bad.add(place, found)
            continue
        counts.update(row.counts)
        empty += [place] * bool(row.counts["empty_answers"])
        unread.update(row.unread)
        if not any(m.content.strip() for m in row.prompt):
            counts["empty_prompts"] += 1
            continue
        texts = texts_sha256(row.prompt)
        split = split_of(texts, name, owned)
        if splits.setdefault(texts, split) != split:
            counts["rows_of_another_split"] += 1  # which keeps the prompt
            continue
        groups.setdefault(whole_sha256(row.prompt, row.tools), []).append((place, row))
    if config.on_bad_row == "refuse":
        bad.refuse(counts["rows"], where)
    has_role = {column.partition(".")[0] for column in columns.of.values()}
    others = sorted({column for _, _, row in kept for column in row} - has_role)
    data = Data({"train": [], "validation": [], "test": []}, counts, bad, unread=dict(unread), unread_columns=others)
    data.places_of["empty_answers"] = empty
    for sha256, group in sorted(groups.items()):
        _add(data, sha256, group, splits[texts_sha256(group[0][1].prompt)], config)
    for each, prompts in data.prompts.items():
        if not prompts:
            left_out = "; ".join(told.left_out(data))
            raise ConfigError(
                f"no prompt for {each} among {counts['rows']} rows" + (f": {left_out}" if left_out else ""),
                where=where,
                do="give more data, or raise task.longest_prompt",
            )
        counts[f"{each}_prompts"] = len(prompts)
        counts[f"{each}_answers"] = sum(len(p.answers) for p in prompts)
    return data


def _add(data: Data, sha256: str, rows: list[tuple[Place, Row]], split: Split, config: UltraFeedbackConfig) -> None:
    """Add a prompt with the answers of its rows, if it is short enough and has any."""
    row = rows[0][1]
    if config.longest_prompt is not None and sum(len(m.content) for m in row.prompt) > config.longest_prompt:
        data.counts["long_prompts"] += 1
        return
    preference, before = config.returns == "preference", data.counts["duplicate_rows"]
    answers = compared(rows, data.counts, data.places_of) if preference else rated(rows, data.counts)
    data.counts["merged_rows"] += len(rows) - 1 - (data.counts["duplicate_rows"] - before)
    if answers:
        data.prompts[split].append(Prompt(sha256[:16], row.prompt, row.tools, answers, split))
    else:
        data.counts["prompts_without_answers"] += 1
