"""Entries and their split."""

from __future__ import annotations

import inspect
import shutil
from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3 import data
from shiqbench_tasks.bfcl_v3.calls import parse
from shiqbench_tasks.bfcl_v3.simulator import official

from shiqbench.digest import digest
from shiqbench.errors import AssetError

if TYPE_CHECKING:
    from pathlib import Path


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
    raw = data._read_lines(bfcl_root, "possible_answer/BFCL_v3_multi_turn_base.json")
    calls = [parse(text).calls[0] for answer in raw for turn in answer["ground_truth"] for text in turn]
    assert sum(bool(c.args) for c in calls) == 40
    assert not differ & {c.name for c in calls if c.args}


def test_entry_154_has_as_many_answers_as_questions(entries: tuple[data.Entry, ...]) -> None:
    assert [len(calls) for calls in entries[154].ground_truth] == [1, 2, 1, 1, 1]


def test_changed_data_are_refused(bfcl_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bfcl_eval" / "data"
    (folder / "possible_answer").mkdir(parents=True)
    with pytest.raises(AssetError, match="cannot read"):
        data.load_entries(tmp_path, "base")
    for name in data.SHA256:
        shutil.copy(bfcl_root / "bfcl_eval" / "data" / name, folder / name)
    with (folder / "BFCL_v3_multi_turn_base.json").open("a") as stream:
        stream.write("\n")
    with pytest.raises(AssetError, match="not the pinned"):
        data.load_entries(tmp_path, "base")
