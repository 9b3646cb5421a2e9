"""How the kit says what it found, and that its documentation names every line of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiqbench.testing.contract import AlgorithmContract, ContractReport, EngineContract, TaskContract

DOCS = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "lines"), [("An algorithm", AlgorithmContract), ("A task", TaskContract), ("An engine", EngineContract)]
)
def test_the_docs_name_every_line_of_the_contract_and_no_other(heading: str, lines: type[AlgorithmContract]) -> None:
    section = DOCS.partition(f"### {heading}\n")[2].partition("###")[0]
    named = [row.split(" | ")[0].removeprefix("| ") for row in section.splitlines() if row.startswith("| ")][1:]
    assert sorted(named) == sorted(lines)


def test_a_finding_names_component_line_and_numbers() -> None:
    report = ContractReport("algorithm", "mine")
    report.require(True, AlgorithmContract.PADDING, "unused")
    with pytest.raises(AssertionError) as caught:
        report.require(False, AlgorithmContract.ORDER, "3, 4 expected")
    line = "the order of a batch, and of a group, changes nothing"
    assert str(caught.value) == f"algorithm mine breaks its contract: {line}; found: 3, 4 expected"
    assert report.held == [AlgorithmContract.PADDING]


def test_a_failing_call_is_a_finding_and_keeps_its_cause() -> None:
    report = ContractReport("task", "mine")
    with pytest.raises(AssertionError, match="found: reading fails with KeyError: 'x'") as caught:
        report.attempt(TaskContract.RECORDS, "reading", lambda: dict[str, int]()["x"])
    assert isinstance(caught.value.__cause__, KeyError)
    assert report.attempt(TaskContract.RECORDS, "reading", lambda: 3) == 3
