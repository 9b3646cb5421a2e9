"""Forms of TRL: a prompt, and what follows it. What follows is played by the model; the prompt is not."""

from __future__ import annotations

from typing import Any

from shiqbench_tasks.rows.bad_rows import BadRow, WrongColumn
from shiqbench_tasks.rows.dialogues import is_dialogue, messages_of

Raw = dict[str, Any]


def preference(row: Raw) -> list[Raw]:
    """Two episodes with one prompt, of which the chosen one earns 1; none where both are the same."""
    given = _messages(row["prompt"], "user") if row.get("prompt") else []
    chosen, rejected = (_ending(row[name], given) for name in ("chosen", "rejected"))
    if chosen == rejected:
        return []
    if given and _follows(chosen) and _follows(rejected):
        ends = chosen, rejected
        prompt = given
    else:
        shared = next(i for i, (a, b) in enumerate(_zipped(chosen, rejected)) if a != b)
        prompt, ends = chosen[:shared], (chosen[shared:], rejected[shared:])
        _agree(row.get("prompt"), given, prompt)
    found = []
    for end, who, reward in zip(ends, ("chosen", "rejected"), (1.0, 0.0), strict=True):
        if not end or not _follows(end):
            raise BadRow("chosen and rejected that differ before the model's answer")
        found.append(_episode(prompt, end, row, who, reward))
    return found


def kto(row: Raw) -> list[Raw]:
    """An episode that earns 1 if it was judged to be good."""
    label = row["label"]
    if label not in (True, False):
        raise BadRow("a label that is neither true nor false", value=label)
    prompt, end = _split(row)
    return [_episode(prompt, end, row, "desirable" if label else "undesirable", float(label))]


def completion(row: Raw) -> list[Raw]:
    """An episode without a reward."""
    return [_episode(*_split(row), row, "recorded", None)]


def _split(row: Raw) -> tuple[list[Raw], list[Raw]]:
    """What is asked, and what follows."""
    given = _messages(row["prompt"], "user") if row.get("prompt") else []
    end = _ending(row["completion"], given)
    if given and _follows(end):
        return given, end
    last = next((i for i, m in enumerate(end) if m.get("role") == "assistant" and i), len(end))
    prompt = end[: len(given)] if given and end[: len(given)] == given else end[:last]
    _agree(row.get("prompt"), given, prompt)
    if not end[len(prompt) :]:
        raise BadRow("a completion without an answer")
    return prompt, end[len(prompt) :]


def _episode(prompt: list[Raw], end: list[Raw], row: Raw, who: str, reward: float | None) -> Raw:
    """The whole conversation; the reward is on its last action."""
    if end[-1].get("role") != "assistant":
        raise BadRow("a conversation whose last message is not the assistant's", value=end[-1].get("role"))
    before = [{**m, "action": False} for m in prompt]
    if reward is not None:
        end = [*end[:-1], {**end[-1], "reward": reward}]
    return {"messages": [*before, *end], "tools": row.get("tools"), "behaviour": who}


def _messages(cell: Any, role: str) -> list[Raw]:
    """A cell as messages: a text, a message, or a list of messages."""
    if isinstance(cell, str):
        return [{"role": role, "content": cell}]
    found = [cell] if isinstance(cell, dict) else cell
    if not isinstance(found, list) or not all(isinstance(m, dict) for m in found):
        raise WrongColumn("a column that has neither text nor messages", value=cell)
    return found


def _ending(cell: Any, given: list[Raw]) -> list[Raw]:
    """What ends a conversation, or all of it; without a prompt it may be a dialogue in one text."""
    return _messages(messages_of(cell) if not given and is_dialogue(cell) else cell, "assistant")


def _follows(end: list[Raw]) -> bool:
    """Whether messages begin with the model's, so that a prompt comes before them."""
    return bool(end) and end[0].get("role") == "assistant"


def _agree(cell: Any, given: list[Raw], prompt: list[Raw]) -> None:
    """Refuse a prompt's column that says something else than the conversation."""
    if not given or prompt[: len(given)] == given:
        return
    asked = [m.get("content") for m in prompt if m.get("role") == "user"]
    if isinstance(cell, str) and cell in (asked[:1] + asked[-1:]):
        return
    raise WrongColumn("a prompt that is not the beginning of the answer's conversation")


def _zipped(a: list[Raw], b: list[Raw]) -> list[tuple[Raw | None, Raw | None]]:
    length = max(len(a), len(b))
    return [(a[i] if i < len(a) else None, b[i] if i < len(b) else None) for i in range(length)]
