"""How pages show the records of a task: which column is what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecordView:
    """The columns of a task's records that a page shows in a special way; it lists all others by name.

    A column that a record lacks is not shown.

    Attributes:
        title: Column that names the record, the same in every cell.
        conversation: Column with messages as a JSON list: objects with ``role`` and ``content``, or pairs of both.
        answer: Column with the text that answers the conversation.
        turns: Column with a JSON list: for each message of the user, whether the turn was right.
        calls: Column with a JSON list: for each message of the user, a list of steps, each a list of calls
            ``[name, arguments, named arguments]``.
        verdict: Columns that say how good the record is; they come first.
        omit: Columns, and keys of messages, that pages leave out, such as token ids; the page says so.
    """

    title: str = "id"
    conversation: str | None = None
    answer: str | None = None
    turns: str | None = None
    calls: str | None = None
    verdict: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()
