"""The reduced prompt: instruction, one line per tool, and how answers go back. Not the official prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.digest import digest
from shiqbench.episode import Message
from shiqbench_tasks.bfcl_v3.calls import Call, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.data import Entry, ToolDocument

INSTRUCTION = (
    "You carry out the user's requests by calling tools. "
    "Answer with calls in a list, [name(arg=value), ...], and with [] once nothing is left to call. Tools:"
)
TURN_END = "the turn is over at a message without calls"
DESCRIPTION_WORDS = 12
NO_MORE_CALLS = "[]"
_TYPES = {"string": "str", "integer": "int", "boolean": "bool", "array": "list"}


def system_message(entry: Entry) -> Message:
    """The instruction and every tool that the episode offers."""
    return Message("system", "\n".join([INSTRUCTION, *(tool_line(tool) for tool in entry.tools)]))


def tool_line(tool: ToolDocument) -> str:
    """``name(arg: type, optional: type = default) - the first words of its description``."""
    parameters = tool["parameters"]
    required = parameters.get("required", [])
    arguments = ", ".join(_argument(name, about, name in required) for name, about in parameters["properties"].items())
    words = tool["description"].rpartition("Tool description: ")[2].split()
    return f"{tool['name']}({arguments}) - {' '.join(words[:DESCRIPTION_WORDS])}"


def _argument(name: str, about: dict[str, Any], required: bool) -> str:
    kind = _TYPES.get(about["type"], about["type"])
    if required:
        return f"{name}: {kind}"
    default = about.get("default")
    return f"{name}: {kind} = {None if default == 'None' else default!r}"  # the documents spell None as text


def tool_message(responses: Sequence[str]) -> Message:
    """Responses of one message's calls, a line each."""
    return Message("tool", "\n".join(responses))


def malformed_response(problem: str) -> str:
    """The answer to a message that is no list of calls."""
    return f"Error: {problem}. Answer with [name(arg=value), ...] or []."


def prompt_identity(kind: str, data_sha256: str) -> str:
    """Sha256 over all that the model is told.

    Tool documents are named by the data's digest, and how they are written by an example, so that this is
    known before the data are fetched.
    """
    kinds = ["string", "integer", "float", "boolean", "array", "dict"]
    optional = {"optional": {"type": "string", "default": "x"}}
    example = {
        "name": "example",
        "description": "This tool belongs to x. Tool description: " + "word " * 2 * DESCRIPTION_WORDS,
        "parameters": {
            "properties": {**{name: {"type": name} for name in kinds}, **optional},
            "required": kinds,
        },
    }
    return digest(
        {
            "kind": kind,
            "instruction": INSTRUCTION,
            "tool": tool_line(example),
            "responses": tool_message(["first", "second"]).content,
            "malformed": malformed_response("problem"),
            "calls": write([Call("f", (1,), {"a": "b"}), Call("g")]),
            "turn_end": TURN_END,
            "data": data_sha256,
        }
    )
