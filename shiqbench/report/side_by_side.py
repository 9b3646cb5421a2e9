"""The texts of a record, and where two differ: the first difference, messages in pairs, and words with marks."""

from __future__ import annotations

import json
import re
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shiqbench.plugin.record_view import RecordView
    from shiqbench.plugin.task import Record

LONGEST = 160  # characters of an excerpt
BEFORE = 60  # characters of what both have in common before it
TOO_LONG = 20_000  # words; longer texts are marked as a whole
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
# Signs for characters that control a terminal, and for those that turn the direction of text around.
_TURNING = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SIGNS = dict.fromkeys((*range(0x7F, 0xA0), *range(0xD800, 0xE000), *_TURNING), "�")
_SIGNS |= {code: chr(0x2400 + code) for code in range(0x20)}
_IN_LINES = {code: sign for code, sign in _SIGNS.items() if chr(code) not in "\n\t"}
_IN_ONE_LINE = _SIGNS | {ord("\n"): "⏎", ord("\t"): "⇥"}


class Message(NamedTuple):
    """A message of a conversation, or a text of a record.

    Attributes:
        role: Who says it, or the name of the column.
        text: What is said.
    """

    role: str
    text: str


def messages(record: Record, view: RecordView) -> list[Message]:
    """The texts of a record: the conversation and the answer, or else every column with text."""
    found = []
    conversation = record.get(view.conversation or "")
    if conversation:
        found += _conversation(str(conversation))
    if view.answer is not None and record.get(view.answer) is not None:
        found.append(Message("assistant", str(record[view.answer])))
    if view.conversation is None and view.answer is None:
        known = {view.title, *view.verdict, *view.omit}
        found = [Message(k, v) for k, v in record.items() if isinstance(v, str) and k not in known]
    return found


def _conversation(text: str) -> list[Message]:
    """Messages of a JSON list; what is no such list is one message."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return [Message("conversation", text)]
    if not isinstance(parsed, list):
        return [Message("conversation", text)]
    return [_message(each) for each in parsed]


def _message(value: Any) -> Message:
    """A message from ``{"role", "content"}`` or ``[role, content]``; other keys, such as calls, follow the text."""
    if isinstance(value, list) and len(value) == 2:
        return Message(_text(value[0]), _text(value[1]))
    if not isinstance(value, dict):
        return Message("?", _text(value))
    more = {k: v for k, v in value.items() if k not in ("role", "content", "token_ids") and v}
    said = [_text(value.get("content")), *(f"{k}: {_text(v)}" for k, v in more.items())]
    return Message(_text(value.get("role", "?")), "\n".join(filter(None, said)))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class FirstDifference(NamedTuple):
    """The place where two conversations differ first.

    Attributes:
        message: Number of the message, from 1.
        role: Role of that message; both roles if they differ.
        word: Number of the word in it, from 1.
        before: End of the text that both have in common in this message, shortened.
        left: Text of the first from there, shortened; None if it has no such message.
        right: The same of the second.
    """

    message: int
    role: str
    word: int
    before: str
    left: str | None
    right: str | None


def first_difference(left: Sequence[Message], right: Sequence[Message]) -> FirstDifference | None:
    """Return the first place where two conversations differ; None if they are equal."""
    for number, (one, other) in enumerate(zip_longest(left, right), 1):
        if one == other:
            continue
        roles = " or ".join(dict.fromkeys(m.role for m in (one, other) if m is not None))
        if one is None or other is None or one.role != other.role:
            said = [None if m is None else _from(m.text) for m in (one, other)]
            return FirstDifference(number, roles, 1, "", said[0], said[1])
        same = _common(a := words(one.text), b := words(other.text))
        before = "".join(a[:same])
        shown = before if len(before) <= BEFORE else "…" + before[-BEFORE:]
        place = 1 + sum(not w.isspace() for w in a[:same])
        texts = (_from("".join(each[same:])) for each in (a, b))
        return FirstDifference(number, roles, place, visible(shown, one_line=True), *texts)
    return None


def _from(text: str) -> str:
    return visible(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…", one_line=True)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Number of words at the beginning that are the same."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def words(text: str) -> list[str]:
    """Words, spaces and signs in order; joined they are the text."""
    return _WORD.findall(text)


def in_pairs(
    left: Sequence[Message], right: Sequence[Message]
) -> Iterator[tuple[int | None, Message | None, int | None, Message | None]]:
    """Put messages next to each other: equal ones first, then those between them in order.

    Yields:
        Number, from 1, and message of the first; the same of the second; None where one has no partner.
    """
    for _, i, i_end, j, j_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for a, b in zip_longest(range(i, i_end), range(j, j_end)):
            one, other = (None if a is None else left[a]), (None if b is None else right[b])
            if one is not None and other is not None and one.role != other.role:
                yield _at(a), one, None, None
                yield None, None, _at(b), other
            else:
                yield _at(a), one, _at(b), other


def _at(position: int | None) -> int | None:
    return None if position is None else position + 1


def marked(left: str, right: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Split two texts into parts: (text, whether it differs from the other text)."""
    a, b = words(left), words(right)
    if len(a) + len(b) > TOO_LONG:
        return [(left, left != right)], [(right, left != right)]
    codes = SequenceMatcher(None, a, b).get_opcodes()
    one = [("".join(a[i:i_end]), tag != "equal") for tag, i, i_end, _, _ in codes if i < i_end]
    other = [("".join(b[j:j_end]), tag != "equal") for tag, _, _, j, j_end in codes if j < j_end]
    return one, other


def visible(text: str, *, one_line: bool = False) -> str:
    """The text as a terminal may print it: characters that control a terminal become signs.

    Args:
        text: Any text, such as a model's.
        one_line: Whether line ends and tabs become signs, too.
    """
    return text.translate(_IN_ONE_LINE if one_line else _IN_LINES)
