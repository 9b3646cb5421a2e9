"""The leaderboard's text prompt, from the pinned wheel, and the rules of its loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Message, digest
from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.official_calls import read_officially
from shiqbench_tasks.bfcl_v3.prompt import NO_MORE_CALLS, TURN_END, PromptSetting
from shiqbench_tasks.bfcl_v3.simulator import official

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.calls import Call, Parsed
    from shiqbench_tasks.bfcl_v3.data import Entry, ToolDocument

LANGUAGE_HINT = " Note that the provided function is in Python 3 syntax."  # the leaderboard adds it to descriptions


class OfficialPrompt(PromptSetting):
    """System prompt with every tool's document; one tool message per response.

    Args:
        root: Folder of the unpacked wheel.
        version: ``v3`` or ``v4``.
    """

    name = "official"
    no_more_calls = NO_MORE_CALLS
    rewrites = True

    def __init__(self, root: Path, version: str) -> None:
        self._version = version
        self._texts: Any = official(root).prompts
        self._system = self._system_v3 if version == "v3" else self._system_v4

    def opening(self, entry: Entry) -> list[Message]:
        """The official system prompt."""
        return [Message("system", self._system([hinted(tool) for tool in entry.offered(0)]))]

    def announcement(self, entry: Entry, turn: int) -> str:
        """The documents of the new tools and the official sentence."""
        text: str = self._texts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING
        return text.format(functions=list(entry.announced(turn)))

    def answers(self, responses: Sequence[str]) -> list[Message]:
        """One tool message per response."""
        return [Message("tool", response) for response in responses]

    def malformed(self, problem: str) -> None:
        """No answer: the turn is over."""

    def parse(self, text: str) -> Parsed:
        """Calls as the leaderboard's decoder of this version finds them."""
        return read_officially(text, self._version)

    def write(self, calls: Sequence[Call]) -> str:
        """Calls in a list."""
        return write(tuple(calls))

    def _system_v3(self, tools: list[ToolDocument]) -> str:
        text: str = self._texts.DEFAULT_SYSTEM_PROMPT
        return text.format(functions=tools)

    def _system_v4(self, tools: list[ToolDocument]) -> str:
        texts = self._texts
        style = texts.PROMPT_STYLE_TEMPLATES["classic"]
        template: str = texts.PROMPT_TEMPLATE_MAPPING["plaintext"]
        return template.format(
            persona=style["persona"],
            task=style["task"],
            tool_call_format=style["tool_call_no_tag"].format(
                output_format=texts.OUTPUT_FORMAT_MAPPING["python"], param_types=texts.PARAM_TYPE_MAPPING["python"]
            ),
            multiturn_behavior=style["multiturn_behavior"],
            available_tools=style["available_tools"].format(format="json", functions=json.dumps(tools, indent=4)),
        )


def official_identity(data_sha256: str) -> str:
    """Sha256 over the text that the model receives; the official texts are pinned with the data."""
    told = {
        "kind": "official",
        "data": data_sha256,
        "hint": LANGUAGE_HINT,
        "responses": "a tool message for each call",
        "read": "as by the leaderboard's decoder",
        "malformed": "ends the turn",
        "turn_end": TURN_END,
    }
    return digest(told)


def hinted(tool: ToolDocument) -> ToolDocument:
    """A tool's document with the leaderboard's remark on its language."""
    return {**tool, "description": tool["description"] + LANGUAGE_HINT}
