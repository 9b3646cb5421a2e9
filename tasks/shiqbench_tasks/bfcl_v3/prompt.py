"""The interface of prompt settings, and the reduced prompt: an instruction and one line per tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import Message, digest
from shiqbench_tasks.bfcl_v3.calls import Call, parse, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.calls import Parsed
    from shiqbench_tasks.bfcl_v3.data import Entry, ToolDocument

# The official sentence that announces withheld tools.
ANNOUNCEMENT = "I have updated some more functions you can choose from. What about now?"
INSTRUCTION = (
    "You carry out the user's requests by calling tools. "
    "Answer with calls in a list, [name(arg=value), ...], and with [] once nothing is left to call. Tools:"
)
TURN_END = "the turn is over at a message without calls; prose may have brackets"
DESCRIPTION_WORDS = 12
NO_MORE_CALLS = "[]"
_TYPES = {"string": "str", "integer": "int", "boolean": "bool", "array": "list"}


class PromptSetting(ABC):
    """Presents a scenario to a model, and reads the model's messages.

    Attributes:
        name: Name of the setting.
        no_more_calls: Message that ends a scripted turn.
        as_official: Whether limits and unreadable messages are treated as in the official loop.
        rewrites: Whether texts in arguments are changed as the official executor changes them.
    """

    name: ClassVar[str]
    no_more_calls: ClassVar[str]
    as_official: ClassVar[bool] = True
    rewrites: ClassVar[bool] = False

    @property
    def parser(self) -> str:
        """Name of the format in which calls are written and read."""
        return "calls"

    @abstractmethod
    def opening(self, entry: Entry) -> list[Message]:
        """Messages before the first user message."""

    def tools(self, entry: Entry, turn: int) -> tuple[ToolDocument, ...]:
        """Documents for the chat template in a turn; empty if the messages present the tools."""
        return ()

    @abstractmethod
    def announcement(self, entry: Entry, turn: int) -> str:
        """User message of the turn that offers withheld tools."""

    @abstractmethod
    def answers(self, responses: Sequence[str]) -> list[Message]:
        """Messages with the responses to one message's calls."""

    @abstractmethod
    def malformed(self, problem: str) -> str | None:
        """The answer to a message that is not a list of calls; None if the message ends the turn, as officially."""

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Read a message. Every text has a result, and no text is evaluated."""

    @abstractmethod
    def write(self, calls: Sequence[Call]) -> str:
        """Write a message that makes these calls."""


class Reduced(PromptSetting):
    """Our prompt for small models: a short instruction, one line per tool, and answers to malformed messages."""

    name = "reduced"
    no_more_calls = NO_MORE_CALLS
    as_official = False

    def opening(self, entry: Entry) -> list[Message]:
        """The instruction and every tool offered so far."""
        return [system_message(entry)]

    def announcement(self, entry: Entry, turn: int) -> str:
        """One line per new tool, and the official sentence."""
        return "\n".join([*(tool_line(tool) for tool in entry.announced(turn)), ANNOUNCEMENT])

    def answers(self, responses: Sequence[str]) -> list[Message]:
        """One message with all responses."""
        return [tool_message(responses)]

    def malformed(self, problem: str) -> str:
        """The problem goes back to the model."""
        return malformed_response(problem)

    def parse(self, text: str) -> Parsed:
        """Calls in a list, read leniently: over several lines, without the list's brackets, with positional arguments.

        The leaderboard's decoder ends the turn at some of these texts.
        """
        return parse(text)

    def write(self, calls: Sequence[Call]) -> str:
        """Calls in a list."""
        return write(tuple(calls))


REDUCED = Reduced()


def system_message(entry: Entry) -> Message:
    """The instruction and every tool that the episode offers from its beginning."""
    return Message("system", "\n".join([INSTRUCTION, *(tool_line(tool) for tool in entry.offered(0))]))


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
    return f"{name}: {kind} = {None if default == 'None' else default!r}"  # the documents write None as text


def tool_message(responses: Sequence[str]) -> Message:
    """Responses of one message's calls, one per line."""
    return Message("tool", "\n".join(responses))


def malformed_response(problem: str) -> str:
    """The answer to a message that is not a list of calls."""
    return f"Error: {problem}. Answer with [name(arg=value), ...] or []."


def reduced_identity(data_sha256: str, *, announces: bool = False) -> str:
    """Sha256 over all text that the model receives under the reduced prompt.

    The digest of the data identifies the tool documents, and an example identifies their format. So the identity is
    known before the data are fetched.

    Args:
        data_sha256: Sha256 of the data.
        announces: Whether any scenario withholds tools and announces them later.
    """
    announcement = {"announcement": ANNOUNCEMENT} if announces else {}
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
            "kind": "reduced",
            "instruction": INSTRUCTION,
            "tool": tool_line(example),
            "responses": tool_message(["first", "second"]).content,
            "malformed": malformed_response("problem"),
            "calls": write([Call("f", (1,), {"a": "b"}), Call("g")]),
            "turn_end": TURN_END,
            "data": data_sha256,
            **announcement,
        }
    )
