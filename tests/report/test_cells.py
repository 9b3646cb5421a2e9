"""Columns have different names, cells are one line: in every format, whatever a task calls its columns."""

from __future__ import annotations

import csv
import io
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from wide_report import wide

from shiqbench.report.cells import one_line, unique
from shiqbench.report.formats import render
from shiqbench.report.tables import overview, text_tables

OURS = ("p", "updates", "seeds", "algorithm", "less base [95 %]", "eval s", "p (2)", "p (gold)", "mean_reward [95 %]")
headings = st.one_of(st.sampled_from(OURS), st.text(max_size=6))
columns = st.lists(
    st.tuples(st.one_of(st.sampled_from(("gold", "kl", "p")), st.text(max_size=5)), headings, st.just(".2f"))
)


@given(columns, headings)
@settings(max_examples=40, deadline=None)
def test_two_columns_never_have_one_name(further: list[tuple[str, str, str]], metric: str) -> None:
    report = wide(2)
    block = report.blocks[0]
    block.columns, block.metric, block.baseline = tuple(further), metric, metric
    for row in block.rows:
        for each in row.evaluations:
            each.metrics.update(dict.fromkeys((name for name, _, _ in further), 1.0))  # type: ignore[attr-defined]
    (table,) = text_tables(report)
    names = list(table.frame.columns)
    assert len(set(names)) == len(names)
    assert len(names) == 13 + len(further)
    assert all(name == " ".join(name.split()) and one_line(name) == name for name in names)
    (head, *_) = csv.reader(io.StringIO(render(report, "csv")))
    assert len(set(head)) == len(head)
    json.loads(render(report, "json"), object_pairs_hook=_different)


def _different(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_equal_names_are_numbered() -> None:
    assert unique(["p", "p", "p (2)", "a\nb", "a  b", "a b"]) == ["p", "p (2)", "p (2) (2)", "a\\nb", "a b", "a b (2)"]


def test_two_tasks_with_one_metric_have_two_columns_in_the_overview() -> None:
    one, other = wide(2).blocks[0], wide(2).blocks[0]
    assert list(overview([one, other]).columns) == [
        "algorithm", "ultrafeedback mean_reward ↑ (test, 012345)", "ultrafeedback mean_reward ↑ (test, 012345) (2)"
    ]  # fmt: skip


def test_what_does_not_print_is_shown_by_its_code() -> None:
    assert one_line("a\nb\tc\x00\u2028β") == "a\\nb\\tc\\x00\\u2028β"


def test_a_line_break_in_a_value_breaks_no_format() -> None:
    report = wide(2, ("sys=a\nb | `c`", ""), ["first\nsecond"])
    for form in ("markdown", "latex"):
        assert not re.search(r"^(b|second)", render(report, form), re.M)
    assert r"sys=a\nb \| \`c\`" in render(report, "markdown")
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert rows[0]["differs_in"] == "sys=a\\nb | `c`"
