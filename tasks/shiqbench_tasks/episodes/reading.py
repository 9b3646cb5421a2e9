"""Rows of any known form become episodes, checked, counted and split by prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from shiqbench.plugin import ConfigError, Episode, Message, Split
from shiqbench_tasks.episodes import told
from shiqbench_tasks.episodes.forms import recognise
from shiqbench_tasks.rows.bad_rows import BadRow, BadRows, Place
from shiqbench_tasks.rows.conversations import READ, Conversation, a_reward, conversation, tool_documents, unread
from shiqbench_tasks.rows.splits import own_split, split_of, texts_sha256, whole_sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from shiqbench_tasks.episodes.config import EpisodesConfig
    from shiqbench_tasks.episodes.forms import Form

KEYS = READ | {"action"}
DOCS = "write the row as docs/episodes.md says"


@dataclass(frozen=True)
class Recorded:
    """An episode as it was read, with the rewards of the file.

    Attributes:
        episode: The episode.
        row: The row that it is from, whole.
        place: Where that row is.
    """

    episode: Episode
    row: dict[str, Any]
    place: Place


@dataclass
class Data:
    """The whole data set.

    Attributes:
        form: How the rows are written.
        episodes: By split, in the order of the source.
        stated_splits: Whether the rows name their splits.
        counts: What was read and left out.
        bad: Rows that could not be used.
        unread: Keys of messages that mean nothing here -> rows that have them.
        unread_columns: The same of columns.
        numbers: Unread columns that hold numbers, one of which may be a reward.
    """

    form: Form
    episodes: dict[Split, list[Recorded]] = field(default_factory=lambda: {s: [] for s in get_args(Split)})
    stated_splits: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    bad: BadRows = field(default_factory=lambda: BadRows(DOCS))
    unread: Counter[str] = field(default_factory=Counter)
    unread_columns: Counter[str] = field(default_factory=Counter)
    numbers: set[str] = field(default_factory=set)

    @property
    def all(self) -> list[Recorded]:
        """The episodes of every split."""
        return [e for found in self.episodes.values() for e in found]

    def facts(self) -> dict[str, Any]:
        """For manifests."""
        return {
            "form": self.form.name,
            **{name: count for name, count in self.counts.items() if count},
            **{f"{split}_episodes": len(found) for split, found in self.episodes.items()},
            "bad_rows": self.bad.facts(),
            "unread_keys": dict(self.unread),
            "unread_columns": dict(self.unread_columns),
        }


@dataclass(frozen=True)
class _Stated:
    """An episode as its row states it."""

    place: Place
    row: dict[str, Any]
    raw: dict[str, Any]
    messages: Conversation
    tools: tuple[dict[str, Any], ...]

    @property
    def prompt(self) -> Conversation:
        """All before the first action."""
        return self.messages[: next(i for i, m in enumerate(self.messages) if m.action)]


def read(rows: Iterable[tuple[str, int, dict[str, Any]]], config: EpisodesConfig, where: str) -> Data:
    """Check and sort all rows.

    Args:
        rows: Split name, number from 0, and content.
        config: Form, and what is done with bad rows.
        where: The source, for messages.

    Raises:
        ConfigError: No form fits, rows cannot be used and are not to be skipped, or a split has no episode.
    """
    found = list(rows)
    data = Data(recognise([row for _, _, row in found], config.form, where))
    column = _reward_column([row for _, _, row in found], data.form, config, where)
    stated: list[_Stated] = []
    for name, number, row in found:
        place = Place(name, number + 1)
        data.counts["rows"] += 1
        try:
            stated += _checked(place, row, data, column)
        except BadRow as bad:
            data.bad.add(place, bad)
    _rewards_in_all_or_none(stated, data)
    _add(stated, {own_split(name) for name, _, _ in found}, data)
    if config.on_bad_row == "refuse":
        data.bad.refuse(data.counts["rows"], where)
    for split in ("train", "test"):
        if not data.episodes[split]:
            left_out = "; ".join(told.left_out(data))
            raise ConfigError(
                f"no episode for {split} among {data.counts['rows']} rows" + (f": {left_out}" if left_out else ""),
                where=where,
                do=f"{'repair these rows, ' if data.bad.places else ''}give more data, or a split in every row: train, "
                "validation or test",
            )
    return data


def _reward_column(rows: Sequence[dict[str, Any]], form: Form, config: EpisodesConfig, where: str) -> str | None:
    """The column with the reward of a whole conversation; None if the form itself says what an episode earns.

    Raises:
        ConfigError: A column is named that no row has, or that this form cannot honour.
    """
    given = config.columns.get("reward")
    if given is not None and form.earns:
        raise ConfigError(f"{form.title} say what they earn", where="task.columns.reward", do="leave it out")
    if given is not None and all(row.get(given) is None for row in rows):
        there = ", ".join(sorted({column for row in rows for column in row}))
        raise ConfigError(f"no column {given!r} in {where}", where="task.columns.reward", do=f"give one of {there}")
    return None if form.earns else given or "reward"


def _checked(place: Place, row: dict[str, Any], data: Data, column: str | None) -> list[_Stated]:
    """The episodes of a row that can be used."""
    episodes = data.form.episodes(row)
    data.counts["identical_pairs"] += not episodes
    found = []
    for raw in episodes:
        messages = _earning(_acting(raw["messages"]), None if column is None else row.get(column))
        if _is_empty(messages):
            data.counts["empty_answers"] += 1
        else:
            found.append(_Stated(place, row, raw, messages, tool_documents(raw.get("tools"))))
    data.unread.update(set[str]().union(*(unread(raw["messages"], KEYS) for raw in episodes)))
    columns = data.form.unread(row) - {column}
    data.unread_columns.update(columns)
    data.numbers |= {c for c in columns if isinstance(row[c], int | float) and not isinstance(row[c], bool)}
    return found


def _earning(messages: Conversation, reward: Any) -> Conversation:
    """The messages with the reward of the whole conversation, if there is one, on the last action.

    Raises:
        BadRow: It is no number, or messages have rewards too.
    """
    if reward is None:
        return messages
    if any(m.reward is not None for m in messages):
        raise BadRow(
            "a reward of the conversation and rewards of its messages", "keep one of the two: they would add up"
        )
    return _with_reward(messages, a_reward(reward, "a conversation's"))


def _acting(value: Any) -> Conversation:
    """Messages, of which the assistant's are actions unless they say otherwise.

    Raises:
        BadRow: A message cannot be kept whole, or the model could not be asked for an action.
    """
    if not isinstance(value, list):
        raise BadRow("messages that are no list", DOCS, value)
    messages: list[Message] = []
    for raw, message in zip(value, conversation(value), strict=True):
        action = raw.get("action")
        if action is None:
            action = message.role == "assistant"
        if not isinstance(action, bool):
            raise BadRow("an action that is neither true nor false", value=action)
        if action and message.role != "assistant":
            raise BadRow("an action of a message that is not the assistant's", value=message.role)
        if message.reward is not None and not action:
            raise BadRow("a reward of a message that is no action")
        if action and (not messages or messages[-1].role == "assistant"):
            cause = "an action that follows another message of the assistant" if messages else "an action at the start"
            raise BadRow(cause, "join the two, or put the user's message before it")
        messages.append(replace(message, action=action))
    if not any(m.action for m in messages):
        raise BadRow("no action, so nothing to learn")
    return tuple(messages)


def _is_empty(messages: Sequence[Message]) -> bool:
    """Whether the last action says nothing."""
    last = [m for m in messages if m.action][-1]
    return not last.content.strip() and "tool_calls" not in last.extra


def _rewards_in_all_or_none(stated: list[_Stated], data: Data) -> None:
    """Without any reward in the data, episodes are demonstrations, and each earns 1; with some, each needs one."""
    rewarded = [any(m.reward is not None for m in s.messages) for s in stated]
    if not any(rewarded):
        data.counts["demonstrations"] = len(stated)
        stated[:] = [replace(s, messages=_with_reward(s.messages, 1.0)) for s in stated]
        return
    for s, has in zip(stated, rewarded, strict=True):
        if not has:
            data.bad.add(s.place, BadRow("no reward, which other rows have"))
    stated[:] = [s for s, has in zip(stated, rewarded, strict=True) if has]


def _with_reward(messages: Conversation, reward: float) -> Conversation:
    """The messages with a reward on the last action."""
    last = max(i for i, m in enumerate(messages) if m.action)
    return tuple(replace(m, reward=reward) if i == last else m for i, m in enumerate(messages))


def _add(stated: Sequence[_Stated], owned: Collection[Split | None], data: Data) -> None:
    """Name the episodes, and put each with its group and its prompt into one split."""
    data.stated_splits = data.form.name == "episodes" and any(s.raw.get("split") is not None for s in stated)
    first = ("test", "validation", "train", None)  # keeps a prompt that is in several splits
    order = {s.place: first.index(_stated_split(s, data)) for s in stated}
    splits: dict[str, Split] = {}
    numbers, ids = Counter[str](), set[str]()
    for s in sorted(stated, key=lambda s: order[s.place]):
        texts = texts_sha256(s.prompt)
        group = _prompt_id(s, data.form)
        keys = (f"group {group}", f"prompt {texts}")
        if data.form.name == "preference":  # two stated comparisons of a prompt: all four answers were never compared
            group = f"{group}/{s.place.split}-{s.place.number}"
        known = [splits[key] for key in keys if key in splits]
        # A split that the source has is its own: nothing of another one is moved into it.
        free: list[Split] = [split for split in known if split not in owned]
        split = _stated_split(s, data) or (free[0] if free else split_of(texts, s.place.split, owned))
        number = numbers[group]
        numbers[group] += 1
        given = s.raw.get("id") if data.form.name == "episodes" else None
        name = f"{group}-{number}" if given is None else str(given)
        problem = _problem(s, data, name in ids)
        if problem is not None:
            data.bad.add(s.place, problem)
            continue
        ids.add(name)
        if any(k != split for k in known):
            data.counts["episodes_of_another_split"] += 1
            continue
        splits.update((key, split) for key in keys)
        behaviour = str(s.raw.get("behaviour") or "recorded")
        episode = Episode(name, group, behaviour, s.messages, s.tools)
        data.episodes[split].append(Recorded(episode, s.row, s.place))


def _stated_split(s: _Stated, data: Data) -> Split | None:
    """The split that the row names, or that the source's own split is for."""
    if data.stated_splits:
        return s.raw.get("split") if s.raw.get("split") in get_args(Split) else None
    return own_split(s.place.split)


def _problem(s: _Stated, data: Data, repeated: bool) -> BadRow | None:
    """What is wrong with the row's own split or id."""
    split = s.raw.get("split") if data.stated_splits else "train"
    if split is None:
        return BadRow("no split, which other rows have")
    if split not in get_args(Split):
        return BadRow("a split that is none of " + ", ".join(get_args(Split)), value=split)
    return BadRow("an id that an earlier row has", value=s.raw.get("id")) if repeated else None


def _prompt_id(s: _Stated, form: Form) -> str:
    """The group that the row names, or else what its prompt and tools are."""
    given = s.raw.get("group") if form.name == "episodes" else None
    return whole_sha256(s.prompt, s.tools)[:16] if given is None else str(given)
