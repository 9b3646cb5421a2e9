"""Small data in every known form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shiqbench_tasks.episodes.config import EpisodesConfig
from shiqbench_tasks.episodes.reading import Data, read
from shiqbench_tasks.rows.sources import locate, rows

Row = dict[str, Any]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def from_rows(found: list[Row], **settings: Any) -> Data:
    """Read rows of one split."""
    return read([("train", i, r) for i, r in enumerate(found)], EpisodesConfig(**settings), "rows")


def from_file(path: Path, **settings: Any) -> Data:
    """Read a file as the task reads it."""
    return read(rows(locate(str(path), None)), EpisodesConfig(**settings), path.name)


def write(path: Path, found: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def said(role: str, content: Any, **more: Any) -> Row:
    return {"role": role, "content": content, **more}


def own(count: int, start: int = 0) -> list[Row]:
    """Two episodes of each prompt: two actions, each with a reward; the second one of a group ends better."""
    return [
        {
            "group": f"g{i}",
            "messages": [
                said("user", f"question {i}"),
                said("assistant", f"which one {k}?", reward=0.25),
                said("user", "the red one"),
                said("assistant", f"{'good' if k else 'bad'} answer {i}", reward=float(k)),
            ],
        }
        for i in range(start, start + count)
        for k in range(2)
    ]


def calls(count: int, **arguments: Any) -> list[Row]:
    """OpenAI messages with a tool call, its result, and the tools; the arguments differ from row to row."""
    found = []
    for i in range(count):
        given = json.dumps({"city": f"town {i}", **arguments})
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": given}}
        messages = [
            said("system", "You are helpful."),
            said("user", f"weather in town {i}?"),
            said("assistant", None, tool_calls=[call]),
            said("tool", "sunny", tool_call_id="c1"),
            said("assistant", f"It is sunny in town {i}."),
        ]
        found.append({"messages": messages, "tools": [TOOL]})
    return found


def sharegpt(count: int) -> list[Row]:
    """ShareGPT with a function call and what was observed."""
    return [
        {
            "system": "You are helpful.",
            "tools": json.dumps([TOOL]),
            "conversations": [
                {"from": "human", "value": f"weather in town {i}?"},
                {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": f"town {i}"}})},
                {"from": "observation", "value": "sunny"},
                {"from": "gpt", "value": f"It is sunny in town {i}."},
            ],
        }
        for i in range(count)
    ]


def texts(count: int) -> list[Row]:
    return [{"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(count)]


def kto(count: int) -> list[Row]:
    return [{"prompt": f"question {i}", "completion": f"answer {i}", "label": i % 2 == 0} for i in range(count)]
