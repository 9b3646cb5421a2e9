"""Perturbations of a ground-truth script, so that the data contain wrong episodes in addition to right ones."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shiqbench_tasks.bfcl_v3.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from shiqbench_tasks.bfcl_v3.data import Entry, ToolDocument
    from shiqbench_tasks.bfcl_v3.loop import Script

_FILLERS: dict[str, Any] = {
    "string": "unknown",
    "integer": 1,
    "float": 1.0,
    "boolean": True,
    "array": [],
    "dict": {},
}


class Perturbation(StrEnum):
    """A change of one turn of a script."""

    CALL_DROPPED = "call_dropped"  # one of several calls is not made
    WRONG_ARGUMENT = "wrong_argument"  # one argument has another value of its type
    WRONG_TOOL = "wrong_tool"  # another tool is called, with the arguments that both tools have
    CALLS_REORDERED = "calls_reordered"  # all calls, in another order; kept only if the order matters
    TURN_SKIPPED = "turn_skipped"  # no call at all


def perturb(kind: Perturbation, entry: Entry, chance: Random) -> Script | None:
    """Perturb one turn of the ground truth; the other turns stay the same.

    Args:
        kind: Kind of perturbation.
        entry: The scenario.
        chance: Random numbers that choose the place; the result is a function of its state.

    Returns:
        Calls per turn, or None if no turn can be perturbed this way.
    """
    needs = 2 if kind in (Perturbation.CALL_DROPPED, Perturbation.CALLS_REORDERED) else 1
    turns = [i for i, calls in enumerate(entry.ground_truth) if len(calls) >= needs]
    if not turns:
        return None
    turn = chance.choice(turns)
    then = replace(entry, tools=entry.offered(turn))  # no perturbation calls a tool that is still withheld
    spoiled = _SPOILERS[kind](entry.ground_truth[turn], then, chance)
    if spoiled is None:
        return None
    return (*entry.ground_truth[:turn], spoiled, *entry.ground_truth[turn + 1 :])


def _drop(calls: tuple[Call, ...], entry: Entry, chance: Random) -> tuple[Call, ...]:
    dropped = chance.randrange(len(calls))
    return calls[:dropped] + calls[dropped + 1 :]


def _skip(calls: tuple[Call, ...], entry: Entry, chance: Random) -> tuple[Call, ...]:
    return ()


def _reorder(calls: tuple[Call, ...], entry: Entry, chance: Random) -> tuple[Call, ...] | None:
    order = list(calls)
    chance.shuffle(order)
    return tuple(order) if [c.text() for c in order] != [c.text() for c in calls] else None


def _wrong_argument(calls: tuple[Call, ...], entry: Entry, chance: Random) -> tuple[Call, ...] | None:
    places = [(i, name) for i, call in enumerate(calls) for name in call.kwargs]
    if not places:
        return None
    at, name = chance.choice(places)
    value = _other_value(calls[at].kwargs[name], entry, chance)
    changed = Call(calls[at].name, kwargs={**calls[at].kwargs, name: value})
    return (*calls[:at], changed, *calls[at + 1 :])


def _other_value(value: Any, entry: Entry, chance: Random) -> Any:
    """Another value of the same type: one that the scenario uses elsewhere, or a neighbour of this one."""
    if isinstance(value, bool):
        return not value
    used = [v for turn in entry.ground_truth for c in turn for v in c.kwargs.values()]
    others = [v for v in used if type(v) is type(value) and v != value]
    if others:
        return chance.choice(others)
    if isinstance(value, (int, float)):
        return value + chance.choice((1, 2, 10))
    if isinstance(value, str):
        return f"{value}_2"
    if isinstance(value, (list, tuple)) and value:
        return value[:-1]
    return None


def _wrong_tool(calls: tuple[Call, ...], entry: Entry, chance: Random) -> tuple[Call, ...]:
    """Call one of the tools whose parameters overlap most with the right one's."""
    at = chance.randrange(len(calls))
    right = calls[at]
    others = [tool for tool in entry.tools if tool["name"] != right.name]
    others.sort(key=lambda tool: -_overlap(tool, right))  # stable, so that ties keep the documents' order
    wrong = Call(*_borrow(chance.choice(others[:5]), right))
    return (*calls[:at], wrong, *calls[at + 1 :])


def _overlap(tool: ToolDocument, call: Call) -> float:
    names = set(tool["parameters"]["properties"])
    return len(names & set(call.kwargs)) / max(1, len(names | set(call.kwargs)))


def _borrow(tool: ToolDocument, call: Call) -> tuple[str, tuple[()], dict[str, Any]]:
    """Name and arguments for a tool: arguments that the call shares with it, and fillers for other required ones."""
    properties = tool["parameters"]["properties"]
    kwargs = {name: value for name, value in call.kwargs.items() if name in properties}
    for name in tool["parameters"].get("required", []):
        kwargs.setdefault(name, _FILLERS[properties[name]["type"]])
    return tool["name"], (), kwargs


_SPOILERS: dict[Perturbation, Callable[[tuple[Call, ...], Entry, Random], tuple[Call, ...] | None]] = {
    Perturbation.CALL_DROPPED: _drop,
    Perturbation.WRONG_ARGUMENT: _wrong_argument,
    Perturbation.WRONG_TOOL: _wrong_tool,
    Perturbation.CALLS_REORDERED: _reorder,
    Perturbation.TURN_SKIPPED: _skip,
}
