"""Differences pair the same example with itself, in whatever order the records are, and never two examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from made_up import cell, evaluation

from shiqbench.plugin.task import Scores
from shiqbench.report.estimates import Difference, against
from shiqbench.report.scores import ScoreBook
from shiqbench.store.cell import mark_done
from shiqbench.store.index import read_index

pytestmark = pytest.mark.usefixtures("own_cache")


def compared(results: Path, one: Mapping[str, float], other: Mapping[str, float]) -> Difference | None:
    """Two rows of one seed, their records in the order of the mappings."""
    for name, scores in (("dpo", one), ("sft", other)):
        folder = evaluation(cell(results, name), list(scores.values()), interval=(0.0, 1.0))
        rows = pd.DataFrame({"id": list(scores), "relative_regret": list(scores.values())})
        rows.to_parquet(folder / "records.parquet")
        mark_done(folder, list(folder.glob("*.*")))
    found = {e.cell.algorithm: [e] for e in read_index(results).evaluations.values()}
    return against(found["dpo"], found["sft"], Scores("id", "relative_regret"), ScoreBook(results))


def test_the_order_of_the_records_changes_nothing(tmp_path: Path) -> None:
    other = {name: 0.1 * n for n, name in enumerate("abcdefghijkl")}
    mine = {name: other[name] - 0.1 for name in reversed(other)}
    found = compared(tmp_path, mine, other)
    assert found is not None
    assert (found.units, found.better, found.worse) == (12, 12, 0)  # each is lower by 0.1
    assert (found.estimate.low, found.estimate.high) == pytest.approx((-0.1, -0.1))


@pytest.mark.parametrize("other", [{"a": 0.1, "b": 0.5}, {"a": 0.1, "b": 0.5, "d": 0.9}])
def test_other_examples_are_not_compared(tmp_path: Path, other: dict[str, float]) -> None:
    assert compared(tmp_path, {"a": 0.0, "b": 0.4, "c": 0.8}, other) is None
