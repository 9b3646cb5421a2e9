"""The simulated tools: official words, no leaks, no runaway calls."""

from __future__ import annotations

import copy
import decimal
import inspect
import time
from typing import TYPE_CHECKING

import mpmath
import pytest
from shiqbench_tasks.bfcl_v3 import guards
from shiqbench_tasks.bfcl_v3.calls import Call
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.simulator import ToolBox, official
from shiqbench_tasks.bfcl_v3.versions import VERSIONS

from shiqbench.base.wheels import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion


def _entry_with(entries: tuple[Entry, ...], name: str) -> Entry:
    return next(e for e in entries if name in e.classes)


def _state(toolbox: ToolBox) -> dict[str, dict[str, object]]:
    return {name: copy.deepcopy(vars(i)) for name, i in toolbox.snapshot().items()}


def test_responses_are_the_official_ones(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    files = ToolBox(entries[1], bfcl_root)
    assert files.dispatch(Call("ls", kwargs={"a": True})) == '{"current_directory_content": ["workspace"]}'
    assert files.dispatch(Call("mkdir", ("new",))) == "None"
    assert files.dispatch(Call("nothing")) == "Error during execution: name 'nothing' is not defined"
    assert files.dispatch(Call("cd", kwargs={"path": "x"})) == (
        "Error during execution: GorillaFileSystem.cd() got an unexpected keyword argument 'path'"
    )
    maths = ToolBox(_entry_with(entries, "MathAPI"), bfcl_root)
    assert maths.dispatch(Call("add", (1, 2))) == '{"result": 3}'
    assert maths.dispatch(Call("logarithm", (8, 2, 5))) == "{'result': mpf('3.0')}"


@pytest.mark.parametrize(
    "name", ["_load_scenario", "__init__", "_navigate_to_directory", "__class__", "instances", "post_tweet"]
)
def test_only_offered_tools_can_be_called(bfcl_root: Path, entries: tuple[Entry, ...], name: str) -> None:
    toolbox = ToolBox(entries[1], bfcl_root)  # files only
    before = _state(toolbox)
    assert toolbox.dispatch(Call(name, ({},))) == f"Error during execution: name '{name}' is not defined"
    assert _state(toolbox) == before


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_the_public_methods_are_the_documented_tools(version: DataVersion) -> None:
    root = fetch(version.wheel)
    for entry in load_entries(root, "base", version):
        toolbox = ToolBox(entry, root)
        assert set(toolbox._methods) == {tool["name"] for tool in entry.tools}
        assert all(inspect.ismethod(method) for method in toolbox._methods.values())


def test_an_episode_leaves_nothing_behind(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    """Every entry's start state and first responses are the same after every entry was played and misused."""

    def fresh() -> list[object]:
        boxes = [ToolBox(e, bfcl_root) for e in entries]
        return [(_state(b), [b.dispatch(c) for c in e.ground_truth[0]]) for b, e in zip(boxes, entries, strict=True)]

    before = fresh()
    calls_before = [c.text() for e in entries for turn in e.ground_truth for c in turn]
    for entry in entries:
        toolbox = ToolBox(entry, bfcl_root)
        for call in (c for turn in entry.ground_truth for c in turn):
            toolbox.dispatch(call)
        for tool in entry.tools:
            toolbox.dispatch(Call(tool["name"]))
    assert fresh() == before
    assert [c.text() for e in entries for turn in e.ground_truth for c in turn] == calls_before


def test_default_lists_are_not_shared(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    """``mention`` extends the list that ``post_tweet`` took from its own defaults."""
    entry = _entry_with(entries, "TwitterAPI")
    answers = []
    for _ in range(2):
        toolbox = ToolBox(entry, bfcl_root)
        toolbox.dispatch(Call("authenticate_twitter", ("analyst_pro", "Kj8#mP9$vL2")))
        answers.append(toolbox.dispatch(Call("post_tweet", ("hello",))))
        assert "successfully" in toolbox.dispatch(Call("mention", (3, ["@someone"])))
    assert '"mentions": []' in answers[0]
    assert answers[0] == answers[1]


def test_arguments_of_a_call_are_not_changed(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    toolbox = ToolBox(_entry_with(entries, "TwitterAPI"), bfcl_root)
    toolbox.dispatch(Call("authenticate_twitter", ("analyst_pro", "Kj8#mP9$vL2")))
    call = Call("post_tweet", kwargs={"content": "x", "tags": [], "mentions": ["@a"]})
    toolbox.dispatch(call)
    toolbox.dispatch(Call("mention", (3, ["@b"])))
    assert call.kwargs["mentions"] == ["@a"]


def test_precision_does_not_leak(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    toolbox = ToolBox(_entry_with(entries, "MathAPI"), bfcl_root)
    digits, precision = mpmath.mp.dps, decimal.getcontext().prec
    assert "3.3219280948873623" in toolbox.dispatch(Call("logarithm", (10, 2, 40)))
    assert "1.41" in toolbox.dispatch(Call("square_root", (2, 3)))
    assert (mpmath.mp.dps, decimal.getcontext().prec) == (digits, precision)


@pytest.mark.parametrize(
    "call",
    [
        Call("power", (10, 10**9)),
        Call("power", kwargs={"exponent": 10**60, "base": -7}),
        Call("power", (2,), {"exponent": 10**7}),
        Call("logarithm", (2, 3, 10**9)),
        Call("logarithm", kwargs={"value": 2, "base": 3, "precision": 10**7}),
        Call("square_root", (2, 10**9)),
        Call("round_number", (5, -(10**9))),
        Call("round_number", kwargs={"number": 5, "decimal_places": -(10**9)}),
    ],
    ids=Call.text,
)
def test_runaway_mathematics_is_refused(bfcl_root: Path, entries: tuple[Entry, ...], call: Call) -> None:
    toolbox = ToolBox(_entry_with(entries, "MathAPI"), bfcl_root)
    started = time.process_time()
    assert toolbox.dispatch(call).startswith("Error during execution: ")
    assert time.process_time() - started < 0.5


def test_every_tool_survives_absurd_arguments_quickly(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    absurd = [10**60, -(10**60), 1e308, 0, "x" * 10_000, ["x"] * 5_000, {}, None, True, [[]] * 100]
    seen: set[str] = set()
    for entry in entries:
        for tool in entry.tools:
            if tool["name"] in seen:
                continue
            seen.add(tool["name"])
            toolbox = ToolBox(entry, bfcl_root)
            for value in absurd:
                started = time.process_time()
                response = toolbox.dispatch(
                    Call(tool["name"], kwargs=dict.fromkeys(tool["parameters"]["properties"], value))
                )
                assert isinstance(response, str)
                assert time.process_time() - started < 1.0, (tool["name"], value)
    assert len(seen) == 129  # every tool of the eight classes


def test_a_tree_that_doubles_without_end_is_refused(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    """Copied folders share their contents, so that each round of five calls doubles what a walk visits."""
    toolbox = ToolBox(entries[1], bfcl_root)
    toolbox.dispatch(Call("mkdir", ("a",)))
    for _ in range(40):
        for call in (
            Call("cp", ("a", "b")),
            Call("mkdir", ("c",)),
            Call("mv", ("a", "c")),
            Call("mv", ("b", "c")),
            Call("mv", ("c", "a")),
        ):
            toolbox.dispatch(call)
    for name in ("find", "du"):
        started = time.process_time()
        assert toolbox.dispatch(Call(name)) == "Error during execution: the folder holds too much"
        assert time.process_time() - started < 0.5


def test_a_folder_inside_itself_is_survived(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    from shiqbench_tasks.bfcl_v3.scoring import ground_truth

    toolbox = ToolBox(entries[1], bfcl_root)
    for call in (Call("mkdir", ("a",)), Call("cp", ("a", "a")), Call("cp", ("a", "a"))):
        toolbox.dispatch(call)
    assert toolbox.dispatch(Call("find")).startswith("Error during execution: ")
    check = official(bfcl_root).state_checker(toolbox.instances, ground_truth(entries[1], bfcl_root).states[0])
    assert not check["valid"]


def test_guards_touch_no_call_of_the_ground_truth(
    bfcl_root: Path, entries: tuple[Entry, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def played() -> list[str]:
        found = []
        for entry in entries:
            toolbox = ToolBox(entry, bfcl_root)
            found += [toolbox.dispatch(c) for turn in entry.ground_truth for c in turn]
        return found

    guarded = played()
    monkeypatch.setattr("shiqbench_tasks.bfcl_v3.simulator.check_cost", lambda call, method: None)
    monkeypatch.setattr("shiqbench_tasks.bfcl_v3.simulator.in_fixed_order", lambda name, response: response)
    assert played() == guarded


def test_responses_in_the_order_of_a_set_are_sorted() -> None:
    said = "Invalid travel class. Must be one of {'first', 'economy', 'business'}"
    assert guards.in_fixed_order("book_flight", said).endswith("{'business', 'economy', 'first'}")
    assert guards.in_fixed_order("edit_ticket", '{"error": "Invalid fields for update: b, a"}') == (
        '{"error": "Invalid fields for update: a, b"}'
    )
    assert guards.in_fixed_order("cat", said) == said
