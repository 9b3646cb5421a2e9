"""Markdown: what a reader of the rendered page sees is the text."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shiqbench.report.cells import one_line
from shiqbench.report.formats import render
from shiqbench.report.formats.markdown import escaped, markdown_table
from shiqbench.report.rows import Report
from shiqbench.store.index import Index

SPECIAL = st.text(alphabet="ab1 *_`<>|\\&;#[]()!~$-+.\n/x:", max_size=14)
PAGE = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def seen(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", text))


@given(SPECIAL, SPECIAL)
@example("*a* _b_ `c` <d> [e](f) &amp; ~~g~~ |", "a\\|b\\\\")
@example("<!-- x -->", "<https://x>")
@example("- x", "1. x")
@settings(deadline=None)
def test_a_page_shows_the_text(label: str, note: str) -> None:
    frame = pd.DataFrame({"x": ["b" + label], "y": ["c"]})
    notes = render(Report(Index(Path("results")), {}, [], ["n" + note, note]), "markdown")
    page = PAGE.render(f"{markdown_table(frame)}\n\n{notes}")
    assert page.count("<table>") == page.count("<tbody>") == page.count("<ul>") == 1
    cells = [seen(c) for c in re.findall(r"<td>(.*?)</td>", page, re.S)]
    assert cells == [one_line("b" + label).rstrip(), "c"]
    items = [seen(i).strip() for i in re.findall(r"<li>(.*?)</li>", page, re.S)]
    assert items == [one_line("n" + note).rstrip(), one_line(note).strip(" ")]


def test_plain_names_stay_as_they_are() -> None:
    for text in ("relative_regret [95 %]", "shiq *", "a < b & c", "beta=0.5 $x", "this run (*): x", "C:\\x", "a-b #1"):
        assert escaped(text) == text
