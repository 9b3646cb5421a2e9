"""The page of two evaluations in a real Chromium: a link of its table opens that example, both sides marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_page import make_results
from test_browser import CHROMIUM, browser, shown

from shiqbench.commands.compare import compare
from shiqbench.report.page.make import write_page
from shiqbench.report.page.two import page_of_two

__all__ = ["browser"]  # the fixture
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def test_an_example_of_the_table_opens_side_by_side(browser: Any, tmp_path: Path) -> None:
    make_results(tmp_path)
    cells = [next((tmp_path / "bfcl_v3" / name).iterdir()) for name in ("sft", "base")]
    found = compare(str(cells[0]), str(cells[1]), tmp_path)
    write_page(page_of_two(found), tmp_path / "two.html")
    with shown(browser, tmp_path / "two.html") as page:
        assert not page.locator("dialog").is_visible()
        last = found.scored[-1]
        page.get_by_role("link", name=last.name, exact=True).click()
        title = str(last.records[0][0]["id"])
        page.locator("#list [aria-current]").wait_for()
        assert page.locator("#list [aria-current] .name").inner_text() == title
        assert page.locator("#record mark").count() > 0
    write_page(page_of_two(found, opens=last), tmp_path / "two.html")
    with shown(browser, tmp_path / "two.html") as page:
        page.locator("#list [aria-current]").wait_for()
        assert page.locator("#list [aria-current] .name").inner_text() == title
