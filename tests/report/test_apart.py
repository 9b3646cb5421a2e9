"""What tells the settings of one task apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiqbench.report.apart import told_apart


def setting(**values: Any) -> dict[str, Any]:
    return {"engine": "exact", "task": "mdp", "setting": values}


BANDIT = setting(mdp="bandit", reward="sparse", horizon=1, actions=3)
SPARSE = setting(mdp="grid", reward="sparse", horizon=8, actions=4)
DENSE = setting(mdp="grid", reward="dense", horizon=8, actions=4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([BANDIT], [""]),
        ([BANDIT, BANDIT], ["", ""]),
        ([SPARSE, DENSE], ["reward=sparse", "reward=dense"]),
        ([BANDIT, DENSE], ["mdp=bandit", "mdp=grid"]),  # names come before numbers
        ([BANDIT, SPARSE, DENSE], ["mdp=bandit reward=sparse", "mdp=grid reward=sparse", "mdp=grid reward=dense"]),
        ([setting(beta=0.5), setting(beta=1.0)], ["beta=0.5", "beta=1"]),
        ([setting(states=None), setting(states=9)], ["states=None", "states=9"]),
        ([setting(list=["a", "b"]), setting(list=["a"])], ["list=a+b", "list=a"]),
    ],
)
def test_the_fewest_values_that_separate_all(settings: list[dict[str, Any]], told: list[str]) -> None:
    assert told_apart(settings) == told


def test_what_a_title_says_already_is_not_said_again() -> None:
    validation = {**SPARSE, "eval": {"split": "validation"}}
    assert told_apart([{**SPARSE, "eval": {"split": "test"}}, validation]) == ["", ""]
    assert told_apart([SPARSE, {**SPARSE, "engine": "vllm 1"}]) == ["", ""]


def test_values_that_say_nothing_to_a_reader_are_left_to_the_digest() -> None:
    assert told_apart([setting(prompt="x" * 500), setting(prompt="y" * 500)]) == ["", ""]
    assert told_apart([setting(prompt="x" * 500, turns=1), setting(prompt="y" * 500, turns=2)]) == [
        "turns=1",
        "turns=2",
    ]


@given(st.lists(st.fixed_dictionaries({k: st.integers(0, 2) for k in "abcd"}), min_size=2, max_size=8))
def test_different_settings_never_get_the_same_words(values: list[dict[str, int]]) -> None:
    told = told_apart([setting(**v) for v in values])
    for one, mine in zip(values, told, strict=True):
        for other, theirs in zip(values, told, strict=True):
            assert (mine == theirs) == (one == other) or not (mine or theirs)
