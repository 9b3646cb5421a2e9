"""Dialogues as one text in the form of Anthropic/hh-rlhf: ``Human: ...`` and ``Assistant: ...`` after empty lines."""

from __future__ import annotations

import re
from typing import Any

from shiqbench_tasks.rows.bad_rows import BadRow

# A mark begins a message wherever it follows an empty line: nothing tells it from one that a message quotes.
MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def is_dialogue(cell: Any) -> bool:
    """Whether a text begins as these dialogues do."""
    return isinstance(cell, str) and MARK.match(cell.replace("\r\n", "\n")) is not None


def messages_of(cell: Any) -> Any:
    """The messages of a dialogue; a cell that is no text is given back.

    The blanks and line ends around a message belong to the form, and are not in it.

    Raises:
        BadRow: It does not begin with the human's words.
    """
    if not isinstance(cell, str) or not cell:
        return cell
    before, *parts = MARK.split(cell.replace("\r\n", "\n"))
    if before or not parts or parts[0] != "Human":
        raise BadRow("a dialogue that does not begin with Human:", "", cell)
    return [{"role": ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
