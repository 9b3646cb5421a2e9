"""CSV and JSON: every digit comes back, and the columns are those that docs/report.md lists."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import pandas as pd
from wide_report import wide

from shiqbench.report.formats import render
from shiqbench.report.formats.data import flat, of_row

DOCS = Path(__file__).parents[3] / "docs" / "report.md"


def test_pandas_reads_csv_to_the_last_digit() -> None:
    report = wide()
    rows = [row for block in report.blocks for row in block.rows]
    frame = pd.read_csv(io.StringIO(render(report, "csv")))
    for name in ("value", "low", "high", "difference", "p", "train_seconds", "metrics.gold"):
        wanted = [flat(report.blocks[0], row)[name] for row in rows]
        found = [None if math.isnan(v) else v for v in frame[name].tolist()]
        assert found == wanted
    assert frame["examples"].tolist() == [200] * 20
    assert frame["algorithm"].tolist() == [r.algorithm for r in rows]


def test_json_and_csv_have_the_same_numbers() -> None:
    report = wide()
    rows = json.loads(render(report, "json"))["blocks"][0]["rows"]
    read = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    for one, other in zip(rows, read, strict=True):
        for name, value in one.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert float(other[name]) == value
        assert {f"metrics.{name}" for name in one["metrics"]} <= set(other)
        assert other["cells"].split() == one["cells"]


def test_a_number_that_is_not_finite_is_null_and_nothing() -> None:
    report = wide(2)
    report.blocks[0].rows[0].estimate = report.blocks[0].rows[0].estimate.__class__(math.nan, None, math.inf, "x")
    row = json.loads(render(report, "json"))["blocks"][0]["rows"][0]
    assert (row["value"], row["high"]) == (None, None)
    (read, _) = csv.DictReader(io.StringIO(render(report, "csv")))
    assert (read["value"], read["high"]) == ("", "")


def test_a_table_that_is_no_block_is_in_json_too() -> None:
    one, other = wide(2), wide(2)
    one.blocks.append(other.blocks[0])
    other.blocks[0].task = "another"
    (table,) = json.loads(render(one, "json"))["tables"]
    assert table["title"] == "Overview of primary metrics"
    assert table["columns"][0] == "algorithm"
    assert [len(row) for row in table["data"]] == [len(table["columns"])] * len(table["data"])


def test_the_docs_list_every_column() -> None:
    section = DOCS.read_text("utf-8").split("## Columns of CSV and JSON")[1].split("\n## ")[0]
    said = [
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall("`([a-z_.A-Z]+)`", line.split("|")[1])
    ]
    report = wide(2)
    block, row = report.blocks[0], report.blocks[0].rows[0]
    assert set(of_row(block, row)) <= set(said)
    assert {n for n in said if n != "metrics.NAME"} == {n for n in flat(block, row) if not n.startswith("metrics.")}
