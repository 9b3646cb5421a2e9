"""Known forms of rows, each converted to the published form of :mod:`shiqbench_tasks.episodes.schema`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError
from shiqbench_tasks.episodes.completions import completion, kto, preference
from shiqbench_tasks.rows.bad_rows import BadRow, WrongColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shiqbench_tasks.episodes.completions import Raw

SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response"), "tool"),
    "system": "system",
}


@dataclass(frozen=True)
class Form:
    """A form of rows.

    Attributes:
        name: Value of ``task.form``.
        title: For readers.
        needs: Columns that every row has.
        reads: Columns that some rows have.
        convert: Function: the episodes of a row, in the published form.
        earns: Whether the form itself says what an episode earns, so that a row needs no reward.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    convert: Callable[[Raw], list[Raw]]
    earns: bool = False

    def episodes(self, row: Raw) -> list[Raw]:
        """The episodes of a row, in the published form.

        Raises:
            BadRow: The row is not of this form.
        """
        missing = [column for column in self.needs if row.get(column) is None]
        if missing:
            raise BadRow(f"no {missing[0]}, which {self.title} have")
        return self.convert(row)

    def unread(self, row: Raw) -> set[str]:
        """Columns of a row that have a value and mean nothing in this form."""
        return {name for name, value in row.items() if value is not None and name not in (*self.needs, *self.reads)}


def _own(row: Raw) -> list[Raw]:
    return [row]


def _openai(row: Raw) -> list[Raw]:
    """The same without what only the published form has; a message of weight 0 is no action."""
    return [{"messages": _weighed(row["messages"]), "tools": row.get("tools")}]


def _sharegpt(row: Raw) -> list[Raw]:
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(t, dict) for t in turns):
        raise WrongColumn("conversations that are no list of turns", value=turns)
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return [{"messages": [*system, *map(_turn, _weighed(turns))], "tools": row.get("tools")}]


def _weighed(messages: Any) -> Any:
    """Messages whose weight, if they have one, says whether they are actions."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return messages
    found = []
    for m in messages:
        weight = m.get("weight")
        if weight not in (None, 0, 1):
            raise BadRow("a weight that is neither 0 nor 1", value=weight)
        rest = {key: value for key, value in m.items() if key != "weight"}
        found.append(rest if weight is None else {**rest, "action": bool(weight)})
    return found


def _turn(turn: Raw) -> Raw:
    who, said = turn.get("from"), turn.get("value")
    role = SPEAKERS.get(str(who))
    if role is None:
        raise BadRow("a turn whose `from` is none of " + ", ".join(SPEAKERS), "rename them", who)
    others = {key: value for key, value in turn.items() if key not in ("from", "value")}
    if who != "function_call":
        return {**others, "role": role, "content": said}
    try:
        calls = json.loads(said) if isinstance(said, str) else said
    except ValueError as error:
        raise BadRow("a function_call that is no JSON", value=said) from error
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(c, dict) for c in calls):
        raise BadRow("a function_call that is no JSON object", value=said)
    return {**others, "role": role, "content": None, "tool_calls": [{"type": "function", "function": c} for c in calls]}


OWN_MARKS = ("group", "split", "behaviour")
FORMS = (
    Form(
        "preference",
        "preferences (chosen, rejected)",
        ("chosen", "rejected"),
        ("prompt", "tools"),
        preference,
        earns=True,
    ),
    Form("kto", "judged completions (KTO)", ("completion", "label"), ("prompt", "tools"), kto, earns=True),
    Form("completion", "prompts with completions", ("prompt", "completion"), ("tools",), completion),
    Form("episodes", "episodes of shiqbench", ("messages",), ("tools", "id", *OWN_MARKS), _own),
    Form("openai", "OpenAI messages", ("messages",), ("tools",), _openai),
    Form("sharegpt", "ShareGPT conversations", ("conversations",), ("system", "tools"), _sharegpt),
)


def recognise(rows: Sequence[Raw], name: str, where: str) -> Form:
    """The form of the rows: the first whose columns are there, unless it is given by name.

    Raises:
        ConfigError: No form fits.
    """
    if not rows:
        raise ConfigError("no rows", where=where, do="give data with one episode per row")
    if name != "auto":
        return next(form for form in FORMS if form.name == name)
    columns = {column for row in rows for column, value in row.items() if value is not None}
    for form in FORMS:
        if columns.issuperset(form.needs) and (form.name != "episodes" or _is_own(rows, columns)):
            return form
    known = "; ".join(f"{', '.join(form.needs)} ({form.name})" for form in FORMS if form.name != "openai")
    raise ConfigError(
        f"no known form has the columns {', '.join(sorted(columns)) or 'none'}",
        where=where,
        do=f"give one of: {known}; or name the columns of answers: show ultrafeedback --data --set task.data={where} "
        "--set task.columns.prompt=COLUMN --set task.columns.chosen=COLUMN --set task.columns.rejected=COLUMN "
        "--set task.returns=preference",
    )


def _is_own(rows: Iterable[Raw], columns: set[str]) -> bool:
    """Whether messages or rows have what only the published form has."""
    if columns.intersection(OWN_MARKS):
        return True
    messages = (m for row in rows for m in (row["messages"] if isinstance(row.get("messages"), list) else ()))
    return any(isinstance(m, dict) and (m.get("action") is not None or m.get("reward") is not None) for m in messages)
