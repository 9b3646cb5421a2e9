"""The model's own tool format: its chat template presents the tools, and it writes calls as it was trained to."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Message, Renderer, digest
from shiqbench_tasks.bfcl_v3.formats import FORMATS
from shiqbench_tasks.bfcl_v3.official_prompt import hinted
from shiqbench_tasks.bfcl_v3.prompt import ANNOUNCEMENT, TURN_END, PromptSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.calls import Call, Parsed
    from shiqbench_tasks.bfcl_v3.data import Entry, ToolDocument
    from shiqbench_tasks.bfcl_v3.formats import Format

# Types of the documents -> types of JSON schema, as the leaderboard translates them.
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_THOUGHT = "</think>"


class NativePrompt(PromptSetting):
    """Tools are passed as ``tools=``, each response is a tool message, and there is no system message of ours.

    Args:
        renderer: The model's chat template.
        parser: Name of the format, or ``auto``.

    Raises:
        ConfigError: The template ignores tools, or its format of calls is unknown.
    """

    name = "native"
    no_more_calls = "Done."

    def __init__(self, renderer: Renderer, parser: str = "auto") -> None:
        if not renderer.supports_tools():
            raise ConfigError(
                "the model's chat template ignores tools",
                where="task.prompt = native",
                do="use a model with tool support, or task.prompt = official or reduced",
            )
        self._format = FORMATS[parser] if parser != "auto" else find_format(renderer)

    @property
    def parser(self) -> str:
        """Name of the format; vLLM's parser has the same name."""
        return self._format.name

    def opening(self, entry: Entry) -> list[Message]:
        """No messages: the template presents the tools."""
        return []

    def tools(self, entry: Entry, turn: int) -> tuple[ToolDocument, ...]:
        """Tools that are offered up to that turn, in JSON schema."""
        return tuple(schema(tool) for tool in entry.offered(turn))

    def announcement(self, entry: Entry, turn: int) -> str:
        """The official sentence; the tools themselves are in the template's list from here on."""
        return ANNOUNCEMENT

    def answers(self, responses: Sequence[str]) -> list[Message]:
        """One tool message per response."""
        return [Message("tool", response) for response in responses]

    def malformed(self, problem: str) -> None:
        """No answer: the turn is over."""

    def parse(self, text: str) -> Parsed:
        """Calls in the model's format; the thoughts of a thinking model are skipped."""
        return self._format.read(without_thought(text))

    def write(self, calls: Sequence[Call]) -> str:
        """Calls in the model's format."""
        return self._format.write(calls)


def without_thought(text: str) -> str:
    """The text after a thinking model's thoughts."""
    return text.rpartition(_THOUGHT)[2]


def native_identity(data_sha256: str) -> str:
    """Sha256 over the text that the model receives in addition to its chat template, which the manifest names."""
    example = {"name": "example", "description": "word", "parameters": {"type": "dict", "properties": {}}}
    told = {
        "kind": "native",
        "data": data_sha256,
        "tool": schema(example),
        "types": _TYPES,
        "announcement": ANNOUNCEMENT,
        "responses": "a tool message for each call",
        "malformed": "ends the turn",
        "turn_end": TURN_END,
    }
    return digest(told)


def schema(tool: ToolDocument) -> ToolDocument:
    """A tool's document in the form that chat templates expect."""
    document = hinted(tool)
    parameters = copy.deepcopy(document["parameters"])
    _translate(parameters)
    return {
        "type": "function",
        "function": {
            "name": document["name"],
            "description": document["description"],
            "parameters": parameters,
        },
    }


def _translate(value: dict[str, Any]) -> None:
    """Replace type names, down to the last property."""
    value["type"] = _TYPES.get(value["type"], value["type"])
    for inner in value.get("properties", {}).values():
        _translate(inner)
    if "items" in value:
        _translate(value["items"])


def find_format(renderer: Renderer) -> Format:
    """Find the format in which the template itself writes a call, or else the format that its text describes.

    Raises:
        ConfigError: The template uses no known format.
    """
    example, template = renderer.example_of_a_call(), str(renderer.tokenizer.chat_template)
    for form in FORMATS.values():
        if re.search(form.written, example):
            return form
    for form in FORMATS.values():
        if re.search(form.described, template, re.DOTALL):
            return form
    raise ConfigError(
        "the model's chat template writes tool calls in a format that is not known here",
        where="task.prompt = native",
        do=f"set the format, task.parser = {' or '.join(FORMATS)}, or use task.prompt = official",
    )
