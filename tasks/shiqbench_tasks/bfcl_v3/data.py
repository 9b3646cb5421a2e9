"""The scenarios: entries, ground truth and tool documents of the pinned wheel, and their split."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import AssetError, Split
from shiqbench_tasks.bfcl_v3.calls import Call, parse
from shiqbench_tasks.bfcl_v3.versions import V3, DataVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


SCENARIOS = 200
SPLIT_SEED = 20250717
SPLIT_SIZES: dict[Split, int] = {"train": 120, "validation": 30, "test": 50}
TOOL_FILES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}

ToolDocument = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One scenario in one category.

    Attributes:
        id: The official id, such as ``multi_turn_base_7``.
        scenario: Number of the scenario, shared by the four categories; splits are by this number.
        category: ``base``, ``miss_func``, ``miss_param`` or ``long_context``.
        users: Text of the user, per turn; empty if a withheld tool is announced instead.
        initial_config: Start state, per class.
        classes: The simulated classes involved, in the official order.
        tools: Documents of every tool that the episode offers in any turn.
        ground_truth: Calls per turn, all arguments by name.
        withheld: Turn -> names of the tools that are offered only from that turn on.
    """

    id: str
    scenario: int
    category: str
    users: tuple[str, ...]
    initial_config: dict[str, Any]
    classes: tuple[str, ...]
    tools: tuple[ToolDocument, ...]
    ground_truth: tuple[tuple[Call, ...], ...]
    withheld: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def offered(self, turn: int) -> tuple[ToolDocument, ...]:
        """Documents of the tools that are offered up to a turn, the newest last."""
        later = {name for names in self.withheld.values() for name in names}
        tools = tuple(tool for tool in self.tools if tool["name"] not in later)
        for at in sorted(self.withheld):
            tools += self.announced(at) if at <= turn else ()
        return tools

    def announced(self, turn: int) -> tuple[ToolDocument, ...]:
        """Documents of the tools that are offered for the first time in this turn."""
        documents = {tool["name"]: tool for tool in self.tools}
        return tuple(documents[name] for name in self.withheld.get(turn, ()))

    @property
    def counted(self) -> tuple[bool, ...]:
        """Per turn, whether it enters scores, that is, whether its ground truth is not empty."""
        return tuple(bool(calls) for calls in self.ground_truth)

    @property
    def long_context(self) -> bool:
        """Whether the simulated tools start with large states."""
        return self.category == "long_context"


def split_scenarios(split: Split) -> tuple[int, ...]:
    """Scenario numbers of a split, in its fixed order; no scenario is in two splits."""
    order = list(range(SCENARIOS))
    random.Random(SPLIT_SEED).shuffle(order)
    start = 0
    for name, size in SPLIT_SIZES.items():
        if name == split:
            return tuple(order[start : start + size])
        start += size
    raise ValueError(f"unknown split {split!r}")


def split_entries(root: Path, categories: Sequence[str], split: Split, version: DataVersion = V3) -> list[Entry]:
    """Entries of a split, scenario by scenario."""
    found = {category: load_entries(root, category, version) for category in categories}
    return [found[category][i] for i in split_scenarios(split) for category in categories]


@cache
def load_entries(root: Path, category: str, version: DataVersion = V3) -> tuple[Entry, ...]:
    """All entries of a category, by scenario number.

    Args:
        root: Folder of the unpacked wheel.
        category: One of the four categories.
        version: Version of the data in that wheel.

    Raises:
        AssetError: A file is missing or differs from the pinned one.
    """
    entries = _read_lines(root, version.files(category)[0], version.sha256[category][0])
    answers = raw_answers(root, category, version)
    merged = {scenario: at for (name, scenario), at in version.merged_answers.items() if name == category}
    return tuple(_entry(root, category, e, answers[e["id"]], merged) for e in entries)


@cache
def raw_answers(root: Path, category: str, version: DataVersion) -> dict[str, list[list[str]]]:
    """The ground truth of a category as written in the file, by official id."""
    lines = _read_lines(root, version.files(category)[1], version.sha256[category][1])
    return {line["id"]: line["ground_truth"] for line in lines}


def _entry(root: Path, category: str, raw: dict[str, Any], answer: list[list[str]], merged: Mapping[int, int]) -> Entry:
    scenario = int(raw["id"].rsplit("_", 1)[1])
    if scenario in merged:
        at = merged[scenario]
        answer = [*answer[:at], answer[at] + answer[at + 1], *answer[at + 2 :]]
    # The official code never reads the ``excluded_function`` of v4, so those tools are offered there too.
    tools = tuple(tool for name in raw["involved_classes"] for tool in load_tools(root, name))
    parameters = {tool["name"]: tuple(tool["parameters"]["properties"]) for tool in tools}
    return Entry(
        id=raw["id"],
        scenario=scenario,
        category=category,
        users=tuple("\n".join(m["content"] for m in turn) for turn in raw["question"]),
        initial_config=raw["initial_config"],
        classes=tuple(raw["involved_classes"]),
        tools=tools,
        ground_truth=tuple(tuple(_named(c, parameters) for c in turn) for turn in answer),
        withheld={int(turn): tuple(names) for turn, names in raw.get("missed_function", {}).items()},
    )


def _named(text: str, parameters: dict[str, tuple[str, ...]]) -> Call:
    """Parse a ground-truth call, and name its positional arguments in the order of the tool's document."""
    (call,) = parse(text).calls
    names = parameters[call.name][: len(call.args)]
    return Call(call.name, kwargs={**dict(zip(names, call.args, strict=True)), **call.kwargs})


@cache
def load_tools(root: Path, class_name: str) -> tuple[ToolDocument, ...]:
    """Documents of a class's tools, in the order of its file."""
    return tuple(_read_lines(root, f"multi_turn_func_doc/{TOOL_FILES[class_name]}.json"))


def _read_lines(root: Path, name: str, sha256: str | None = None) -> list[dict[str, Any]]:
    path = root / "bfcl_eval" / "data" / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(
            f"cannot read the BFCL data: {error.strerror}", where=str(path), do="run shiqbench fetch bfcl_v3"
        ) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise AssetError(
            "the BFCL data differ from the pinned ones",
            where=str(path),
            do="delete that folder and run shiqbench fetch bfcl_v3",
        )
    return [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
