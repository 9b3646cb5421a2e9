"""What a program answers, checked: nothing that is not understood is passed over."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from shiqbench.plugin import Message, RunError, Step, digest

ROLES = ("system", "user", "assistant", "tool")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Description:
    """What a program plays.

    Attributes:
        name: Name of the environment.
        version: Changes when the environment does.
        examples: Split -> ids of its examples.
        at_once: Most episodes that the program plays at a time; None for no limit.
    """

    name: str
    version: str
    examples: dict[str, tuple[str, ...]]
    at_once: int | None = None

    def identity(self) -> dict[str, str]:
        """Name, version and examples, for digests."""
        return {"environment": self.name, "version": self.version, "examples": digest(self.examples)}


def description(answer: dict[str, Any]) -> Description:
    """Read the answer to ``describe``.

    Where the environment has no test or validation split itself, a tenth of the training examples is held out.

    Raises:
        RunError: It is not as the protocol says.
    """
    _only(answer, ("name", "version", "examples", "at_once"))
    for key in ("name", "version"):
        if not isinstance(answer.get(key), str) or not answer[key]:
            raise _wrong(f"{key} is {_shown(answer.get(key))}, not a text")
    at_once = answer.get("at_once")
    if at_once is not None and (not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1):
        raise _wrong(f"at_once is {_shown(at_once)}, not a number above 0")
    return Description(answer["name"], answer["version"], _examples(answer.get("examples")), at_once)


def _examples(given: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(given, list):
        given = {"train": given}
    if not isinstance(given, dict) or not given or not all(isinstance(x, list) for x in given.values()):
        raise _wrong(f"examples is {_shown(given)}, not a list, or lists by split")
    _only(given, SPLITS)
    pairs = {split: [_example(example) for example in examples] for split, examples in given.items()}
    twice = [id_ for id_, count in Counter(id_ for each in pairs.values() for id_, _ in each).items() if count > 1]
    if twice:
        raise _wrong(f"{len(twice)} examples have the id of another one, such as {twice[0]!r}")
    found = {split: tuple(id_ for id_, _ in pairs.get(split, ())) for split in SPLITS}
    for split in ("test", "validation"):
        if split not in given:
            held_out = _tenth(pairs.get("train", []), split)
            found[split] = tuple(id_ for id_ in found["train"] if id_ in held_out)
            pairs["train"] = [pair for pair in pairs.get("train", []) if pair[0] not in held_out]
            found["train"] = tuple(id_ for id_, _ in pairs["train"])
    return found


def _tenth(pairs: list[tuple[str, str]], split: str) -> set[str]:
    """The examples of a tenth of the groups, at least of one, if there are others; which ones depends on a hash."""
    groups = sorted({group for _, group in pairs}, key=lambda g: hashlib.sha256(f"{split}:{g}".encode()).digest())
    held_out = set(groups[: max(1, len(groups) // 10)]) if len(groups) > 1 else set()
    return {id_ for id_, group in pairs if group in held_out}


def _example(given: Any) -> tuple[str, str]:
    """Id and group of an example; examples of one group are in one split."""
    if isinstance(given, dict):
        _only(given, ("id", "group"))
        pair = (given.get("id"), given.get("group", given.get("id")))
    else:
        pair = (given, given)
    id_, group = pair
    if not isinstance(id_, str) or not isinstance(group, str) or not id_:
        raise _wrong(f"an example is {_shown(given)}, not a text or an object with the texts id and group")
    return id_, group


def opening(answer: dict[str, Any]) -> list[Message]:
    """Read the answer to ``reset``.

    Raises:
        RunError: It is not as the protocol says.
    """
    _only(answer, ("messages",))
    found = _messages(answer)
    if not found:
        raise _wrong("reset gives no message to answer")
    return found


def step(answer: dict[str, Any]) -> Step:
    """Read the answer to ``step``.

    Raises:
        RunError: It is not as the protocol says.
    """
    _only(answer, ("messages", "reward", "done"))
    done = answer.get("done", False)
    if not isinstance(done, bool):
        raise _wrong(f"done is {_shown(done)}, not true or false")
    found = _messages(answer)
    if not found and not done:
        raise _wrong("a step gives no message to answer, and the episode is not done")
    return Step(found, reward(answer), done)


def reward(answer: dict[str, Any]) -> float | None:
    """Read the reward of an answer; None if it has none.

    Raises:
        RunError: It is not a finite number.
    """
    found = answer.get("reward")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise _wrong(f"reward is {_shown(found)}, not a finite number")
    return float(found)


def cut(answer: dict[str, Any]) -> float | None:
    """Read the answer to ``cut``: the reward for an episode that a limit ended.

    Raises:
        RunError: It is not as the protocol says.
    """
    _only(answer, ("reward",))
    return reward(answer)


def _messages(answer: dict[str, Any]) -> list[Message]:
    given = answer.get("messages", [])
    if not isinstance(given, list):
        raise _wrong(f"messages is {_shown(given)}, not a list")
    return [_message(m) for m in given]


def _message(given: Any) -> Message:
    if not isinstance(given, dict):
        raise _wrong(f"a message is {_shown(given)}, not an object with role and content")
    _only(given, ("role", "content"))
    if given.get("role") not in ROLES:
        raise _wrong(f"a message has the role {_shown(given.get('role'))}, not one of {', '.join(ROLES)}")
    if not isinstance(given.get("content"), str):
        raise _wrong(f"a message has the content {_shown(given.get('content'))}, not a text")
    return Message(given["role"], given["content"])


def _only(given: dict[str, Any], known: tuple[str, ...]) -> None:
    strange = [key for key in given if key not in known]
    if strange:
        raise _wrong(f"unknown key {strange[0]!r}; known are {', '.join(known)}")


def _wrong(what: str) -> RunError:
    return RunError(f"the program does not keep the protocol: {what}", do="see docs/environments.md")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
