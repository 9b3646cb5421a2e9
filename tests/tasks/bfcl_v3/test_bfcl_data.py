"""Entries and their split."""

from __future__ import annotations

import inspect
import shutil
from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3 import data
from shiqbench_tasks.bfcl_v3.calls import parse
from shiqbench_tasks.bfcl_v3.simulator import official
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, V3, V4, VERSIONS

from shiqbench.base.digest import digest
from shiqbench.base.errors import AssetError
from shiqbench.base.wheels import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.versions import DataVersion


def test_splits_are_disjoint_complete_and_pinned() -> None:
    splits = {name: data.split_scenarios(name) for name in data.SPLIT_SIZES}
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 120,
        "validation": 30,
        "test": 50,
    }
    assert sorted(i for found in splits.values() for i in found) == list(range(200))
    assert digest(splits)[:16] == "6437e4ec429395fa"


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split"):
        data.split_scenarios("dev")  # type: ignore[arg-type]


def test_split_entries_follow_the_split(bfcl_root: Path) -> None:
    found = data.split_entries(bfcl_root, ("base",), "validation")
    assert tuple(e.scenario for e in found) == data.split_scenarios("validation")


def test_entries(entries: tuple[data.Entry, ...]) -> None:
    assert [e.id for e in entries] == [f"multi_turn_base_{i}" for i in range(200)]
    assert sum(len(calls) for e in entries for calls in e.ground_truth) == 1161
    assert sum(sum(e.counted) for e in entries) == 742
    for entry in entries:
        assert len(entry.users) == len(entry.ground_truth)
        assert all(entry.users)


def test_all_calls_are_named_and_offered(entries: tuple[data.Entry, ...]) -> None:
    for entry in entries:
        parameters = {t["name"]: set(t["parameters"]["properties"]) for t in entry.tools}
        for call in (c for turn in entry.ground_truth for c in turn):
            assert not call.args
            assert set(call.kwargs) <= parameters[call.name]


def test_positional_arguments_get_the_right_names(entries: tuple[data.Entry, ...]) -> None:
    assert entries[0].ground_truth[2][0].text() == "sort(file_name='final_report.pdf')"


def test_documents_name_parameters_in_the_order_of_the_code(bfcl_root: Path) -> None:
    """But for two tools, which no positional call of the ground truth names."""
    differ = set()
    for name, cls in official(bfcl_root).classes.items():
        for tool in data.load_tools(bfcl_root, name):
            code = list(inspect.signature(getattr(cls, tool["name"])).parameters)[1:]
            if list(tool["parameters"]["properties"]) != code:
                differ.add(tool["name"])
    assert differ == {"delete_message", "purchase_insurance"}
    raw = data._read_lines(bfcl_root, V3.files("base")[1])
    calls = [parse(text).calls[0] for answer in raw for turn in answer["ground_truth"] for text in turn]
    assert sum(bool(c.args) for c in calls) == 40
    assert not differ & {c.name for c in calls if c.args}


def test_entry_154_has_as_many_answers_as_questions(entries: tuple[data.Entry, ...]) -> None:
    assert [len(calls) for calls in entries[154].ground_truth] == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_every_category_of_both_versions(version: DataVersion, category: str) -> None:
    found = data.load_entries(fetch(version.wheel), category, version)
    assert [e.id for e in found] == [f"multi_turn_{category}_{i}" for i in range(200)]
    assert sum(sum(e.counted) for e in found) == {"v3": 742, "v4": 731}[version.name]
    empty = {"base": 3, "long_context": 3, "miss_func": 203, "miss_param": 203}
    assert sum(not counted for e in found for counted in e.counted) == empty[category]
    for entry in found:
        assert len(entry.users) == len(entry.ground_truth)
        assert all(bool(said) != (turn in entry.withheld) for turn, said in enumerate(entry.users))
        assert bool(entry.withheld) == (category == "miss_func")
        parameters = {t["name"]: set(t["parameters"]["properties"]) for t in entry.tools}
        for call in (c for turn in entry.ground_truth for c in turn):
            assert not call.args
            assert set(call.kwargs) <= parameters[call.name]


def test_withheld_tools_come_last_once_they_are_announced(miss_func: tuple[data.Entry, ...]) -> None:
    entry = miss_func[2]
    assert entry.withheld == {4: ("cp", "cat")}
    names = [[t["name"] for t in entry.offered(turn)] for turn in range(len(entry.users))]
    assert names[0] == names[3] == [t["name"] for t in entry.tools if t["name"] not in ("cp", "cat")]
    assert names[4] == [*names[0], "cp", "cat"]
    assert [t["name"] for t in entry.announced(4)] == ["cp", "cat"]
    assert entry.announced(0) == ()


def test_every_tool_of_the_involved_classes_is_offered(v4_root: Path) -> None:
    """Of those that v4 lists as excluded too, since the official loop offers them."""
    for entry in data.load_entries(v4_root, "base", V4):
        assert [t for name in entry.classes for t in data.load_tools(v4_root, name)] == list(entry.offered(0))


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_every_public_method_is_a_documented_tool(version: DataVersion) -> None:
    """So that calling what the official executor would call never means calling what no document names."""
    root = fetch(version.wheel)
    for name, cls in official(root).classes.items():
        methods = {n for n, _ in inspect.getmembers(cls, predicate=inspect.isfunction) if not n.startswith("_")}
        assert methods == {tool["name"] for tool in data.load_tools(root, name)}


def test_changed_data_are_refused(bfcl_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bfcl_eval" / "data"
    (folder / "possible_answer").mkdir(parents=True)
    with pytest.raises(AssetError, match="cannot read"):
        data.load_entries(tmp_path, "base")
    for name in V3.files("base"):
        shutil.copy(bfcl_root / "bfcl_eval" / "data" / name, folder / name)
    with (folder / "BFCL_v3_multi_turn_base.json").open("a") as stream:
        stream.write("\n")
    with pytest.raises(AssetError, match="differ from the pinned"):
        data.load_entries(tmp_path, "base")
