"""Conversations of a row: lists of messages in OpenAI's form, checked message by message."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from shiqbench.plugin import Message
from shiqbench_tasks.rows.bad_rows import BadRow, WrongColumn

Conversation = tuple[Message, ...]
ROLES = ("system", "developer", "user", "assistant", "tool")
EXTRA = ("tool_calls", "tool_call_id", "name", "reasoning_content")  # what chat templates read of a message
READ = frozenset({"role", "content", "reward", *EXTRA})


def conversation(value: Any) -> Conversation:
    """A conversation: one user's text, or a list of messages, which may have rewards; none of them is an action yet.

    Raises:
        BadRow: It is neither, or a message cannot be kept whole.
    """
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not all(isinstance(m, dict) for m in value):
        raise WrongColumn("a column that has neither text nor messages", value=value)
    messages = tuple(_message(m, last=i == len(value) - 1) for i, m in enumerate(value))
    _check_answered_calls(messages)
    return messages


def unread(value: Any, read: frozenset[str] = READ) -> set[str]:
    """Keys of a conversation's messages that mean nothing here."""
    messages = value if isinstance(value, list) else []
    return {key for m in messages if isinstance(m, dict) for key in m if key not in read and m[key] not in (None, [])}


def tool_documents(value: Any) -> tuple[dict[str, Any], ...]:
    """The tools that a row offers: a list, or its JSON text; keys without a value count as absent.

    Raises:
        BadRow: They are no list of structures.
    """
    if isinstance(value, str):
        value = _from_json(value) if value.strip() else None
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(t, dict) for t in value):
        raise WrongColumn("tools are no list of tool documents", value=value)
    return tuple(_without_nulls(t) for t in value)


def without_rewards(messages: Conversation) -> Conversation:
    """The messages as a model is asked: none of them is an action."""
    return tuple(m if m.reward is None else replace(m, action=False, reward=None) for m in messages)


def as_text(message: Message) -> str:
    """What a message says, its calls included, for readers that know no chat template."""
    calls = message.extra.get("tool_calls")
    return "\n".join(part for part in (message.content, json.dumps(calls) if calls else "") if part)


def _message(raw: dict[str, Any], *, last: bool) -> Message:
    role = raw.get("role")
    if role is None or ("content" not in raw and not raw.get("tool_calls")):
        raise BadRow("a message without role and content", "write messages as role and content", ", ".join(raw))
    if role not in ROLES:
        raise BadRow("a role that is none of " + ", ".join(ROLES), "rename the roles", role)
    if raw.get("function_call"):
        raise BadRow("function_call of a message", "write it as tool_calls")
    extra = {key: raw[key] for key in EXTRA if raw.get(key)}
    if "tool_calls" in extra:
        extra["tool_calls"] = _calls(extra["tool_calls"])
    content = _content(raw.get("content"))
    if content is None and not last and "tool_calls" not in extra:
        raise BadRow("a message with neither content nor tool calls", value=", ".join(raw))
    reward = _reward(raw.get("reward"), role)
    return Message(role, content or "", reward=reward, extra=extra)


def _check_answered_calls(messages: Conversation) -> None:
    """Each tool message that names a call follows this call; calls without an id answer to any.

    Raises:
        BadRow: It names a call that no earlier message makes.
    """
    made: set[Any] = set()
    for m in messages:
        made |= {call.get("id") for call in m.extra.get("tool_calls", ())}
        named = m.extra.get("tool_call_id")
        if m.role == "tool" and named is not None and named not in made and None not in made:
            raise BadRow("a tool message whose tool_call_id no earlier call has", value=named)


def _content(value: Any) -> str | None:
    """Text, or text parts joined as chat templates join them."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise WrongColumn("a content that is neither text nor parts", value=value)
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise BadRow("a content part that is no text", "", kind)
        texts.append(part["text"])
    return "".join(texts)


def _calls(value: Any) -> list[dict[str, Any]]:
    """Tool calls, their arguments as a structure: chat templates write the JSON."""
    if not isinstance(value, list) or not all(isinstance(c, dict) for c in value):
        raise BadRow("tool_calls that are no list of calls", "", value)
    return [_call(c) for c in value]


def _call(raw: dict[str, Any]) -> dict[str, Any]:
    call = {key: value for key, value in raw.items() if value is not None}
    inner = call.get("function", call)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise BadRow("a tool call without a name", "write it as function: name, arguments", raw)
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        arguments = _from_json(arguments) if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise BadRow("arguments of a tool call that are no JSON object", "", inner["arguments"])
    said = {**inner, "arguments": arguments or {}}
    return {**call, "function": said} if "function" in call else said


def _reward(value: Any, role: str) -> float | None:
    if value is None:
        return None
    if role != "assistant":
        raise BadRow("a reward of a message that is not the assistant's", "", role)
    return a_reward(value, "a message's")


def a_reward(value: Any, whose: str) -> float:
    """A reward as a number.

    Raises:
        BadRow: It is none, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(f"{whose} reward that is no number", "", value)
    return float(value)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the caller says what it should have been


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
