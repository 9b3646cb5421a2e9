"""A page in a real Chromium, from disk, with the network off."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from made_page import EXAMPLES, HOSTILE, make_results
from made_up import cell, evaluation

from shiqbench.report import make_report
from shiqbench.report.page.content import Cell, Page, Table
from shiqbench.report.page.make import page_of, report_page, write_page

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]
MANY = 5000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    report_page(make_results(folder / "results"), folder / "report.html", baseline="base")
    return folder / "report.html"


@contextmanager
def shown(browser: Any, file: Path, at: str = "", **how: Any) -> Iterator[Any]:
    """Open a file; at the end, no error may be on the console and no request but the file's may have been made."""
    context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 900}, **how})
    page, wrong, asked = context.new_page(), [], []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{file.as_uri()}{at}")
    yield page
    assert wrong == []
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:image/svg+xml")} == {file.as_uri()}
    context.close()


def table_of(page: Any, title: str) -> Any:
    return page.locator("main section", has=page.locator("h2", has_text=title)).last


def texts(locator: Any) -> list[str]:
    return [t.strip() for t in locator.all_inner_texts()]


def follow(page: Any, link: Any) -> None:
    """Click, and wait for the examples: the page unpacks them after a click."""
    link.click()
    page.wait_for_selector("#list [aria-current]")


def escape(page: Any, link: Any) -> None:
    """Close the examples; the link that opened them has the focus again."""
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_function("link => link === document.activeElement", arg=link.element_handle())


def test_a_table_sorts_both_ways_and_says_so(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        table = table_of(page, "bfcl_v3 on test")
        head = table.locator("th", has_text="turn_accuracy [")
        column = table.locator("tbody td:nth-child({})".format(head.evaluate("h => h.cellIndex") + 1))
        head.get_by_role("button").click()
        up = [float(t.split()[0]) for t in texts(column)]
        assert (up, head.get_attribute("aria-sort")) == (sorted(up), "ascending")
        assert len(set(up)) > 2
        head.get_by_role("button").click()
        assert [float(t.split()[0]) for t in texts(column)] == up[::-1]
        assert head.get_attribute("aria-sort") == "descending"
        p = table.locator("th", has_text="less base")
        for _ in range(2):  # what is missing is last in both directions
            p.get_by_role("button").click()
            assert texts(table.locator("tbody tr").last)[0].startswith("base")
        assert table.locator("th[aria-sort]").count() == 1


def test_every_kind_of_number_sorts_by_its_size(browser: Any, tmp_path: Path) -> None:
    columns = [
        ["0.62", "<1e-06", "-", "0.0032", "1.2e-05"],
        ["0.62", "<1e-06 +", "-", "0.0032 -", "1.2e-05 +"],
        ["9.5 %", "-1 %", "-", "2 %", "0 %"],
        ["10/0/40", "3/7/0", "-", "9/0/41", "3/12/0"],
        ["2-4", "0", "-", "1", "0-2"],
        ["1200", "-3", "-", "90 [80, 100]", "7.68e+02"],
        ["1982d6804db2", "10e", "-", "2ab", "b"],
    ]
    up = [*[[1, 4, 3, 0, 2]] * 3, [1, 4, 3, 0, 2], [1, 4, 3, 0, 2], [1, 3, 4, 0, 2], [3, 1, 0, 4, 2]]
    rows = [[Cell(f"row{i}"), *(Cell(c[i]) for c in columns)] for i in range(5)]
    exact = [Cell("<1e-06", number=n) for n in (3e-9, 1e-30, 2e-7, 4e-9, 5e-9)]
    table = Table("t", ["name", *"abcdefg", "exact"], [[*row, e] for row, e in zip(rows, exact, strict=True)])
    write_page(Page("t", [], [], [table]), tmp_path / "t.html")
    with shown(browser, tmp_path / "t.html") as page:
        for at, order in enumerate([*up, [1, 0, 3, 4, 2]], 1):
            for wanted in (order, [*order[-2::-1], order[-1]] if at <= len(up) else order[::-1]):
                page.locator("thead button").nth(at).click()
                assert texts(page.locator("tbody th")) == [f"row{i}" for i in wanted], at


def test_what_is_compared_is_on_the_screen_and_explained(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        table = table_of(page, "ultrafeedback on test")
        heads = table.locator("thead th")
        assert [t.split(" [")[0] for t in texts(heads)][:4] == ["algorithm", "reward", "less base", "p (Holm)"]
        assert texts(heads)[-4:] == ["updates", "train tokens", "train s", "eval s"]
        box = table.locator("thead th", has_text="p (Holm)").bounding_box()
        assert box["x"] + box["width"] < 1280
        said = heads.get_by_role("button").evaluate_all("all => all.map(button => button.title)")
        assert len(said) == heads.count()
        assert min(map(len, said)) > 10
        page.get_by_text("What the columns say").click()
        assert "Holm's step-down" in page.locator("#legend").inner_text()


def test_the_first_column_stays(browser: Any, report: Path) -> None:
    with shown(browser, report, viewport={"width": 500, "height": 700}) as page:
        table = table_of(page, "ultrafeedback on test")
        table.locator(".scroll").evaluate("box => { box.scrollLeft = 300; }")
        left = table.locator(".scroll").bounding_box()["x"]
        for first in ("thead th", "tbody th"):
            assert abs(table.locator(first).first.bounding_box()["x"] - left) < 1


@pytest.mark.parametrize("at", ["#b0-r0-r1", "#b0-r1"])
def test_the_address_of_an_example_opens_it(browser: Any, report: Path, at: str) -> None:
    with shown(browser, report, at) as page:
        page.wait_for_selector("#list [aria-current]")
        seed = page.locator("#left option").evaluate_all("all => all.find(o => o.text.includes('seed 1')).value")
        page.locator("#left").select_option(seed)
        page.wait_for_selector("#list [aria-current]")
        page.get_by_role("button", name="multi_turn_7").click()
        address = "#" + page.url.partition("#")[2]
        record = page.locator("#record").inner_text()
    assert address.endswith("-xmulti_turn_7")
    with shown(browser, report, address) as page:
        page.wait_for_selector("#list [aria-current]")
        assert page.locator("#left").input_value() == seed
        assert page.locator("#list [aria-current] .name").inner_text() == "multi_turn_7"
        assert page.locator("#record").inner_text() == record
        page.keyboard.press("Escape")
        page.wait_for_function("() => !location.hash")


def test_a_conversation_opens_with_calls_answers_and_verdict(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        row = table_of(page, "bfcl_v3 on test").locator("tbody tr", has_text="sft")
        number = row.locator("a").first
        follow(page, number)
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="multi_turn_2").first.click()
        record = page.locator("#record")
        assert "[fillFuelTank(fuelAmount=10)]" in record.locator(".assistant").first.inner_text()
        assert '{"fuelLevel": 12.0}' in record.locator(".tool").first.inner_text()
        assert "fillFuelTank(fuelAmount=10)" in record.locator(".calls").first.inner_text()
        assert texts(record.locator(".verdict")) == ["✗ wrong", "✗ wrong"]  # (2 + 10) % 3 turns are right
        dialog.get_by_role("button", name="multi_turn_1").first.click()
        assert texts(record.locator(".verdict")) == ["✓ right", "✓ right"]
        assert "Please fill the tank of car 1." in record.inner_text()
        assert record.locator("tr", has_text="right_turns").locator("td").inner_text() == "2"
        escape(page, number)


def test_the_scores_in_the_list_make_the_number(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        number = table_of(page, "ultrafeedback on test").locator("tbody tr", has_text="sft").locator("a").first
        value = float(number.inner_text().split()[0])
        follow(page, number)
        scores = [float(t) for t in texts(page.locator("#list .score"))]
        assert len(scores) == EXAMPLES
        assert sum(scores) / len(scores) == pytest.approx(value, abs=1e-3)
        assert "Question 0?" in page.locator("#record .user").inner_text()
        assert "A much longer answer." in page.locator("#record .assistant").inner_text()
        assert "Not in this page: sample_ids." in page.locator("#record").inner_text()


def test_two_cells_side_by_side_with_the_words_that_differ(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        row = table_of(page, "ultrafeedback on test").locator("tbody tr", has_text="sft")
        follow(page, row.locator("a").nth(1))
        answers = page.locator("#record .assistant")
        assert "A much longer answer." in answers.nth(0).inner_text()
        assert "A short answer." in answers.nth(1).inner_text()
        assert [texts(answers.nth(side).locator("mark")) for side in (0, 1)] == [["much longer"], ["short"]]
        assert page.locator("#record .user mark").count() == 0
        assert f"A higher on {EXAMPLES}, B higher on 0 (higher is better)" in page.locator("#state").inner_text()
        page.locator("#right").select_option(label="nothing")
        page.wait_for_function("document.querySelectorAll('#record .assistant').length === 1")


def test_the_keyboard_reaches_everything(browser: Any, report: Path) -> None:
    with shown(browser, report) as page:
        link = table_of(page, "ultrafeedback on test").locator("tbody tr", has_text="sft").locator("a").first
        for _ in range(400):
            page.keyboard.press("Tab")
            if link.evaluate("link => link === document.activeElement"):
                break
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Enter")
        page.wait_for_selector("#list button")
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#list') !== null"):
                break
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent").startswith("x1")
        assert page.locator("#list [aria-current]").inner_text().startswith("x1")
        assert page.evaluate(outline) == "solid"
        escape(page, link)
        head = table_of(page, "ultrafeedback on test").locator("thead button").first
        head.focus()
        page.keyboard.press("Enter")
        assert head.evaluate("b => b.parentElement.getAttribute('aria-sort')") == "ascending"


@pytest.mark.parametrize("at", ["#b99-r0", "#b0-r0.9-xmulti_turn_1", "#b0-r99", "#b0-r0-r99", "#b0", "#nothing"])
def test_a_link_to_nothing_opens_nothing(browser: Any, report: Path, at: str) -> None:
    with shown(browser, report, at) as page:
        assert not page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize("at", ["", "#b0-r0", "#b0-r0-r1"])
def test_a_narrow_window_scrolls_only_inside_tables(browser: Any, report: Path, at: str) -> None:
    with shown(browser, report, at, viewport={"width": 375, "height": 700}) as page:
        if at:
            page.wait_for_selector("#record .message")
        wide = "[document.documentElement, document.getElementById('examples')].map(e => e.scrollWidth - e.clientWidth)"
        assert max(page.evaluate(wide)) <= 0


def test_text_from_models_and_settings_does_nothing(browser: Any, report: Path) -> None:
    with shown(browser, report, "#b0-r0-r1") as page:
        page.wait_for_selector("#record .message")
        for details in page.locator("#record details").all():
            details.evaluate("d => d.open = true")
        assert HOSTILE.split("\u2028")[0] in page.locator("#record .assistant").last.inner_text()
        assert "</script><script>" in page.locator("main").inner_text()
        assert page.title() == "shiqbench: results"
        assert page.locator("img[src='x'], #record b, main td b, main td script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("at", ["", "#b0-r0", "#b0-r0-r1"])
def test_axe_finds_no_serious_fault(browser: Any, report: Path, scheme: str, at: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with shown(browser, report, at, color_scheme=scheme, reduced_motion="reduce") as page:
        if at:
            page.wait_for_selector("#record .message")
        found = axe.run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_thousands_of_records_and_hundreds_of_rows(browser: Any, tmp_path: Path, own_cache: Path) -> None:
    results, report = tmp_path / "results", tmp_path / "report.html"
    noise = random.Random(0)
    records = {"text": [" ".join(f"w{noise.randrange(9999)}" for _ in range(200)) for _ in range(MANY)]}
    big = cell(results, "base", task="toys")
    evaluation(big, [noise.random() for _ in range(MANY)], task="toys", records=records)
    for number in range(199):
        few = cell(results, "dpo", task="toys", config={"beta": number})
        evaluation(few, [noise.random() for _ in range(10)], task="toys")
    write_page(page_of(make_report(results)), report)
    with shown(browser, report) as page:
        assert page.evaluate("performance.now()") < 20_000
        table = table_of(page, "toys")
        assert table.locator("tbody tr").count() == 200
        table.get_by_label("Filter rows").fill("beta=17 ")
        assert texts(table.locator("tbody tr:visible th")) == ["dpo"] or table.locator("tbody tr:visible").count() == 11
        table.get_by_label("Filter rows").fill("base")
        assert table.locator("output").inner_text() == "1 of 200 rows"
        follow(page, table.locator("tbody tr:visible a").first)
        assert page.locator("#state").inner_text() == f"{MANY:,} of {MANY:,} examples"
        assert page.locator("#list button").count() == 50
        page.get_by_role("button", name="Next").click()
        assert page.locator("#list button").first.inner_text().startswith("x50")
        page.get_by_label("Find").fill(f"x{MANY - 1}")
        assert page.locator("#list button").count() == 1
        page.get_by_label("Find").fill("")
        page.get_by_label("Order").select_option("low")
        scores = [float(t) for t in texts(page.locator("#list .score"))]
        assert scores == sorted(scores)


def test_records_that_are_not_in_the_page_are_named(browser: Any, tmp_path: Path, own_cache: Path) -> None:
    write_page(page_of(make_report(make_results(tmp_path / "results")), largest=0), tmp_path / "report.html")
    with shown(browser, tmp_path / "report.html", "#b0-r0") as page:
        page.locator("#state", has_text="--records MB sets another limit").wait_for()
        assert "RECORDS of 9 of 9 evaluations" in page.locator("#summary").inner_text()


def test_marked_words_are_those_that_differ(browser: Any, report: Path) -> None:
    words = (files("shiqbench.report.page") / "words.js").read_text()
    noise = random.Random(1)
    vocabulary = ["red", "blue", " ", "  ", "\n", ",", "é", "🙂", "x1"]
    pairs = [["".join(noise.choices(vocabulary, k=noise.randrange(40))) for _ in "AB"] for _ in range(200)]
    pairs += [["", ""], ["a", ""], ["a b", "a b"], ["x " * 9000, "y " * 9000], ["same\n" * 3000 + "a", "same\n" * 3000]]
    with shown(browser, report) as page:
        found = page.evaluate(f"pairs => {{ {words}; return pairs.map(([a, b]) => differences(a, b)); }}", pairs)
    for (a, b), (left, right) in zip(pairs, found, strict=True):
        assert ("".join(t for t, _ in left), "".join(t for t, _ in right)) == (a, b)
        common = ["".join(t for t, differs in side if not differs) for side in (left, right)]
        assert common[0] == common[1]
        assert (a == b) == (not any(differs for _, differs in left + right))
