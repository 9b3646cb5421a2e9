"""The file of a page: what it holds, what it leaves out and says so, and the same bytes for the same results."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_page import HOSTILE, make_results
from made_up import cell, evaluation
from typer.testing import CliRunner

from shiqbench.commands.app import app
from shiqbench.plugin.record_view import RecordView
from shiqbench.report import make_report
from shiqbench.report.page.columns import WORDS
from shiqbench.report.page.content import linked
from shiqbench.report.page.make import page_of, write_page
from shiqbench.report.page.records import embed
from shiqbench.report.tables import OVERVIEW, text_tables
from shiqbench.store.cell import mark_done

pytestmark = pytest.mark.usefixtures("own_cache")


class Links(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.to: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.to += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]


def unpacked(text: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(gzip.decompress(base64.b64decode(text)))
    return found


def write(folder: Path, baseline: str | None = None, largest: float = 100) -> str:
    page = page_of(make_report(folder, baseline=baseline), largest=largest)
    write_page(page, folder.parent / "report.html")
    return (folder.parent / "report.html").read_text()


def test_every_value_and_every_difference_links_to_its_examples(tmp_path: Path) -> None:
    report = make_report(make_results(tmp_path / "results"), baseline="base")
    tables = {t.title: linked(t, report.blocks) for t in text_tables(report)}
    for number, block in enumerate(report.blocks):
        rows = tables[block.title].rows
        base = next(i for i, r in enumerate(block.rows) if r.algorithm == "base")
        for at, (row, cells) in enumerate(zip(block.rows, rows, strict=True)):
            links = {h.split(" [")[0]: c.link for h, c in zip(tables[block.title].head, cells, strict=True) if c.link}
            less = {"less base": f"#b{number}-r{at}-r{base}"} if row.difference is not None else {}
            assert links == {block.metric: f"#b{number}-r{at}", **less}
    assert sum(bool(c.link) for cells in tables[OVERVIEW].rows for c in cells) > 5
    for cells in tables[OVERVIEW].rows:
        assert [bool(c.link) for c in cells[1:]] == [c.text != "-" for c in cells[1:]]


def test_records_come_back_whole_without_what_the_task_leaves_out(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "results")
    page = page_of(make_report(folder))
    told = {f["folder"]: unpacked(e.text) for f, e in zip(page.examples["records"], page.records, strict=True)}
    assert len(told) == 9
    for name, columns in told.items():
        frame = pd.read_parquet(folder / name / "records.parquet")
        for column in {"transcript", "prompt"} & set(columns):
            kept = [json.loads(text) for text in frame[column]]
            if column == "transcript":
                kept = [[{"role": m["role"], "content": m["content"]} for m in messages] for messages in kept]
            assert [json.loads(text) for text in columns[column]] == kept
        for column in frame.columns.drop(["sample_ids", "transcript", "prompt"], errors="ignore"):
            assert columns[column] == frame[column].tolist()
        assert "sample_ids" not in columns


def test_numbers_that_a_browser_would_change_are_text(tmp_path: Path) -> None:
    records: dict[str, Any] = {"seed": [2**53 + 1, 7], "odd": [float("inf"), float("-inf")], "raw": [b"\xff", None]}
    of = evaluation(cell(tmp_path, "dpo"), [0.5, 0.25], records=records)
    (made,) = embed(tmp_path, [(str(of.relative_to(tmp_path)), RecordView())]).values()
    columns = unpacked(made.text)
    assert columns["seed"] == [str(2**53 + 1), 7]
    assert columns["odd"] == ["Infinity", "-Infinity"]
    assert columns["raw"] == ["_w==", None]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "results")
    assert write(folder, "base") == write(folder, "base")
    assert str(tmp_path) not in write(folder, "base")


def test_text_is_escaped_in_html_and_in_data(tmp_path: Path) -> None:
    text = write(make_results(tmp_path / "results"), "base")
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 2 + 9
    assert "49" not in re.findall(r"bold.{0,60}", text)[0]  # a template in a setting is text
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', text)[0]
    assert "default-src" in policy
    assert "unsafe" not in policy
    found = Links()
    found.feed(text)
    assert len(found.to) > 20
    assert not [t for t in found.to if not t.startswith(("#", "data:image/svg+xml;base64,"))]


def test_what_is_too_large_is_left_out_by_a_stated_rule_and_said(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "results")
    whole = page_of(make_report(folder))
    size = sum(len(e.text) for e in whole.records[:4]) / 1e6
    page = page_of(make_report(folder), largest=size)
    assert [bool(e.text) for e in page.records] == [True] * 4 + [False] * 5
    facts = page.examples["records"]
    seeds = [
        s["seed"] for b in page.examples["blocks"] for r in b["rows"] for s in r["evaluations"] if s["records"] < 8
    ]
    assert 1 not in seeds  # second seeds come after the first of every row
    assert [f["why"] for f in facts[4:]] == [
        f"the page holds {size:g} MB of records; --records MB sets another limit"
    ] * 5
    assert any(n.startswith("RECORDS of 5 of 9 evaluations are not in this page") for n in page.main_notes)
    assert not any(e.text for e in page_of(make_report(folder), largest=0).records)


@pytest.mark.parametrize("content", [b"no parquet", None])
def test_damaged_records_are_said_not_a_crash(tmp_path: Path, content: bytes | None) -> None:
    folder = make_results(tmp_path / "results")
    (damaged,) = folder.glob("toys/shiq/*/eval/*/records.parquet")
    if content is None:
        damaged.write_bytes(damaged.read_bytes() + b"more")  # another sha256 than DONE names
    else:
        damaged.write_bytes(content)
        (damaged.parent / "DONE").unlink()
        mark_done(damaged.parent, list(damaged.parent.glob("*.*")))
    page = page_of(make_report(folder))
    (why,) = {e.why for e in page.records if e.why}
    assert "records.parquet" in why
    assert any("RECORDS of 1 of 9" in n for n in page.main_notes)


def test_a_page_needs_a_file_and_only_a_page_opens(tmp_path: Path) -> None:
    make_results(tmp_path / "results")
    for options, said in (
        (["--format", "html"], "add --output page.html"),
        (["--open"], "add --format html --output page.html"),
    ):
        done = CliRunner().invoke(app, ["report", str(tmp_path / "results"), *options])
        assert done.exit_code != 0
        assert said in done.output + str(done.exception)


def test_open_shows_the_file_in_the_browser(tmp_path: Path) -> None:
    make_results(tmp_path / "results")
    command = ["report", str(tmp_path / "results"), "--format", "html", "--output", str(tmp_path / "r.html"), "--open"]
    code = f"from shiqbench.commands.app import main; main({command!r})"
    (tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    (tmp_path / "browser").chmod(0o755)
    environment = {**os.environ, "BROWSER": str(tmp_path / "browser")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    assert (tmp_path / "r.html").stat().st_size > 10_000
    for _ in range(50):
        if (tmp_path / "shown").exists():
            break
        time.sleep(0.1)
    assert (tmp_path / "shown").read_text().strip() == (tmp_path / "r.html").as_uri()


def test_the_documentation_explains_columns_in_the_words_of_the_page() -> None:
    docs = (Path(__file__).parents[3] / "docs" / "report.md").read_text().replace("`", "")
    for name, words in WORDS.items():
        assert f"| {name} | {words} |" in docs
