"""Small data in the forms of the known sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import Data, read

Row = dict[str, Any]


def from_rows(found: list[Row], split: str = "train", **settings: Any) -> Data:
    """Read rows of one split."""
    return read([(split, i, r) for i, r in enumerate(found)], UltraFeedbackConfig(**settings), "rows")


def paired(count: int, start: int = 0, **changes: Any) -> list[Row]:
    """As the shared data: text, scores in ``metadata``."""
    return [
        {
            "prompt": f"question {i}",
            "chosen": f"good answer {i} with more words",
            "rejected": f"bad answer {i}",
            "metadata": {"score_chosen": 8.0, "score_rejected": float(1 + i % 7)},
            **changes,
        }
        for i in range(start, start + count)
    ]


def conversations(count: int, start: int = 0) -> list[Row]:
    """As trl-lib/ultrafeedback_binarized: messages, the prompt in them."""
    return [
        {
            "chosen": [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"good {i}"}],
            "rejected": [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"bad {i}"}],
            "score_chosen": 7.5,
            "score_rejected": 3.0,
        }
        for i in range(start, start + count)
    ]


def calling(count: int) -> list[Row]:
    """Conversations in OpenAI's form with a tool call, its result, and the tools."""
    found = conversations(count)
    for row in found:
        call = {"name": "weather", "arguments": '{"city": "Rome", "unit": null}'}
        called = [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]
        for who in ("chosen", "rejected"):
            row[who][1:1] = called
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        row["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    return found


def rated(count: int) -> list[Row]:
    """As openbmb/UltraFeedback: four completions a prompt."""
    return [
        {
            "source": "flan",
            "instruction": f"question {i}",
            "models": [f"model-{k}" for k in range(4)],
            "completions": [
                {
                    "model": f"model-{k}",
                    "response": f"answer {k} to {i}",
                    "overall_score": float(2 + (i + 2 * k) % 6),
                    "fine-grained_score": 3.0,
                    "annotations": {"helpfulness": {"Rating": "4", "Rationale": "well"}},
                }
                for k in range(4)
            ],
        }
        for i in range(count)
    ]


def write(path: Path, rows: list[Row]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path
