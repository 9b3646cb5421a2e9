"""The native formats of tool calls: one small reader and writer each. Readers accept any text and evaluate none.

The readers find the same calls as vLLM's parsers of the same names; a test compares them. This module exists because
the transformers engine must work without vLLM. The readers are stricter than vLLM's on purpose: arguments must be a
JSON object, and sets, f-strings and dotted names are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench_tasks.bfcl_v3 import calls as texts
from shiqbench_tasks.bfcl_v3.calls import MAX_CALLS, MAX_CHARACTERS, Call, Outcome, Parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_PYTHON_TAG = "<|python_tag|>"
_PYTHONIC_MARKS = re.compile(r"<\|python_(?:start|end)\|>")
_OBJECT = re.compile(r"\{\s*(?:['\"{]|\Z)")
_JSON_WORDS = {"true": True, "false": False, "null": None}
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class Format:
    """One way to write calls.

    Attributes:
        name: vLLM's name of its parser.
        read: Function from a message to calls.
        write: Function from calls to a message.
        written: Pattern of a call of the probe tool as a chat template writes it.
        described: Pattern of the text in which a chat template describes this format.
    """

    name: str
    read: Callable[[str], Parsed]
    write: Callable[[Sequence[Call]], str]
    written: str
    described: str


def read_hermes(text: str) -> Parsed:
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, any number of them among text."""
    return _objects(_TOOL_CALL.findall(text), ("arguments",)) if _fits(text) else _too_long()


def write_hermes(calls: Sequence[Call]) -> str:
    """One element per call, as Qwen's templates write them."""
    return "\n".join(f"<tool_call>\n{_json(call, 'arguments')}\n</tool_call>" for call in calls)


def read_llama3_json(text: str) -> Parsed:
    """``{"name": ..., "parameters": {...}}``, any number of them; after the first there may be text between them."""
    if not _fits(text):
        return _too_long()
    found, at = [], text.find("{")
    while at >= 0:
        try:
            end = _JSON.raw_decode(text, at)[1]
        except (ValueError, RecursionError) as error:
            if _OBJECT.search(text) is None:  # brackets in prose
                return Parsed(Outcome.NO_CALLS)
            return Parsed(Outcome.MALFORMED, problem=f"not JSON: {error}")
        found.append(text[at:end])
        at = text.find("{", end)
    return _objects(found, ("arguments", "parameters"))


def write_llama3_json(calls: Sequence[Call]) -> str:
    """Objects with a semicolon between them."""
    return "; ".join(_json(call, "parameters") for call in calls)


def read_pythonic(text: str) -> Parsed:
    """Only ``[f(a=1), g()]``; ``true``, ``false`` and ``null`` are accepted as literals."""
    text = _PYTHONIC_MARKS.sub("", text).strip()
    if not text.startswith("["):
        return Parsed(Outcome.NO_CALLS)
    return texts.parse(text, words=_JSON_WORDS.__getitem__)


def write_pythonic(calls: Sequence[Call]) -> str:
    """Calls in a list."""
    return texts.write(tuple(calls))


def _fits(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS


def _too_long() -> Parsed:
    return Parsed(Outcome.MALFORMED, problem=f"longer than {MAX_CHARACTERS} characters")


def _objects(found: Sequence[str], argument_keys: tuple[str, ...]) -> Parsed:
    """Calls from JSON texts; a text that is not a call makes the whole message malformed, as in vLLM."""
    if len(found) > MAX_CALLS:
        return Parsed(Outcome.MALFORMED, problem=f"more than {MAX_CALLS} calls")
    try:
        calls = tuple(_call(json.loads(text), argument_keys) for text in found)
    except (ValueError, RecursionError) as error:
        return Parsed(Outcome.MALFORMED, problem=f"not a call: {error}")
    return Parsed(Outcome.CALLS if calls else Outcome.NO_CALLS, calls)


def _call(value: Any, argument_keys: tuple[str, ...]) -> Call:
    name = value.get("name") if isinstance(value, dict) else None
    arguments = next((value[key] for key in argument_keys if key in value), None) if name is not None else None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(f"an object with name and {argument_keys[-1]} is needed")
    if any("\ud800" <= character <= "\udfff" for character in _strings(value)):
        raise ValueError("a string holds half a character")
    return Call(name, kwargs=arguments)


def _strings(value: Any) -> str:
    """All text in a JSON value."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(k + _strings(v) for k, v in value.items())
    return "".join(map(_strings, value)) if isinstance(value, list) else ""


def _json(call: Call, key: str) -> str:
    return json.dumps({"name": call.name, key: call.kwargs}, ensure_ascii=False, default=Call.text)


_CALL_OF_PROBE = r'\{\s*"name":\s*"shiqbench_probe_tool",\s*'
FORMATS = {
    f.name: f
    for f in (
        Format(
            "hermes",
            read_hermes,
            write_hermes,
            rf'<tool_call>\s*{_CALL_OF_PROBE}"arguments":',
            r'<tool_call>.{0,20}name\\?".{0,60}arguments\\?"',
        ),
        Format(
            "llama3_json",
            read_llama3_json,
            write_llama3_json,
            rf'{_CALL_OF_PROBE}"parameters":',
            r'\{\\?"name\\?": [^{}]{0,60}parameters\\?"',
        ),
        Format(
            "pythonic",
            read_pythonic,
            write_pythonic,
            r"\[\s*shiqbench_probe_tool\(",
            r"\[func_name1\(",
        ),
    )
}
