"""The page of a folder of submissions: the report's own numbers, settings apart, and what is not shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from altered import TRAIN, altered, change_records, recast
from support import ask

from shiqbench.base.errors import ConfigError
from shiqbench.report import make_report
from shiqbench.submissions.board import write_board
from shiqbench.submissions.pack import submit

pytestmark = pytest.mark.usefixtures("own_cache")
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    """A board with two seeds of shiq, and base."""
    shutil.copytree(packed, tmp_path / "board")
    return tmp_path / "board"


def tables(page: Path) -> dict[str, str]:
    """The text of each table, by title."""
    text = page.read_text()
    sections = re.findall(r"<section id=\"t\d+\".*?</section>", text, re.DOTALL)
    found = {}
    for section in sections:
        title = re.search(r"<h2[^>]*>(.*?)</h2>", section)
        assert title is not None
        found[title[1]] = re.sub(r"<[^>]+>", " ", section)
    return found


def test_the_board_has_the_numbers_of_the_report(folder: Path, cells: Path, tmp_path: Path) -> None:
    done = ask("board", folder, "--baseline", "base", "--title", "Our <board>", "--results", tmp_path / "unpacked")
    assert (done.returncode, done.stderr) == (0, f"page: {folder}/index.html\n")
    ours, theirs = make_report(cells, baseline="base"), make_report(tmp_path / "unpacked", baseline="base")
    (one,), (other,) = ours.blocks, theirs.blocks
    assert [str(r.estimate) for r in one.rows] == [str(r.estimate) for r in other.rows]
    assert [r.name for r in other.rows] == ["shiq", "base"]
    page = folder / "index.html"
    shown = tables(page)
    assert str(other.rows[0].estimate) in shown[one.title]
    assert "[" in str(other.rows[0].estimate)  # an interval
    assert "Ledger: what training cost" in shown
    assert "<title>Our &lt;board&gt;</title>" in page.read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", page.read_text())
    assert ask("report", tmp_path / "unpacked").returncode == 0


def test_the_same_files_give_the_same_page(folder: Path) -> None:
    write_board(folder, folder / "one.html")
    write_board(folder, folder / "two.html")
    assert (folder / "one.html").read_bytes() == (folder / "two.html").read_bytes()


def test_every_file_is_in_the_table_and_settings_are_apart(folder: Path, shiq: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [*TRAIN, "--results", tmp_path / "more"]
    run = ask(*words, "--set", "task.seeds=10", "--set", "task.horizon=2", "--set", "train.updates=2", "--json")
    assert run.returncode == 0, run.stderr
    submit(str(next((tmp_path / "more" / "mdp" / "shiq").iterdir())), folder / "by" / "others")
    write_board(folder, folder / "index.html")
    shown = tables(folder / "index.html")
    assert sum(title.startswith("mdp, relative_regret") for title in shown) == 2
    rows = shown["Submissions"]
    assert "by/others/mdp-shiq-" in rows
    assert f"mdp/shiq/{shiq.name}" in rows
    assert rows.count("checks agree") == 4
    assert "nobody trained the cell again" in rows


def test_files_that_do_not_agree_are_left_out_and_named(folder: Path, submission: Path) -> None:
    def better(frame: Any) -> None:
        frame["relative_regret"] = 0.0

    altered(submission, folder / "a-lie.shiqbench.zip", change_records(better))
    (folder / "b-noise.shiqbench.zip").write_bytes(b"noise")
    (folder / "notes.txt").write_text("no submission")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "c.shiqbench.zip").write_bytes(b"noise")
    (folder / "link").symlink_to(folder)
    done = ask("board", folder)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(":")[:2] for line in lines] == [
        ["REFUSED", " a-lie.shiqbench.zip"],
        ["REFUSED", " b-noise.shiqbench.zip"],
        ["page", f" {folder}/index.html"],
    ]
    assert "record seed-" in lines[0]
    text = (folder / "index.html").read_text()
    assert "REFUSED: a-lie.shiqbench.zip: " in text
    assert "hidden" not in tables(folder / "index.html")["Submissions"]


def test_a_cell_that_two_have_run_is_shown_once_with_both_values(folder: Path, submission: Path) -> None:
    shutil.copyfile(submission, folder / "z-again.shiqbench.zip")
    made = write_board(folder, folder / "index.html")
    assert made.refused == []
    assert made.repeated == [
        ("z-again.shiqbench.zip", f"{submission.name} has the same cell; relative_regret: the same")
    ]
    altered(submission, folder / "z-again.shiqbench.zip", scaled)
    (why,) = [text for _, text in write_board(folder, folder / "index.html").repeated]
    assert re.search(r"relative_regret: 0\.\d+ instead of 0\.\d+", why)
    assert ask("board", folder).returncode == 0


def scaled(files: dict[str, bytes]) -> None:
    """Another machine's result: every distance is a little smaller, and everything that follows from it fits."""
    from shiqbench_tasks.mdp.config import MdpConfig
    from shiqbench_tasks.mdp.task import MdpTask

    from shiqbench.submissions.records import read_table

    (parquet,) = [n for n in files if n.endswith(".parquet")]
    (config,) = [json.loads(c) for n, c in files.items() if "/eval/" in n and n.endswith("config.json")]
    (metrics,) = [n for n in files if n.endswith("metrics.json")]
    task = MdpTask(MdpConfig(**config["setting"]))

    def change(frame: Any) -> None:
        frame["kl_to_optimum"] *= 0.9
        again = task.rescore(frame.to_dict("records"))
        for name in ("objective", "return", "relative_regret"):
            frame[name] = [row[name] for row in again]

    change_records(change)(files)
    found = task.metrics(read_table(files[parquet]).to_pylist())
    values = json.loads(files[metrics])
    values["metrics"] = found.metrics
    values["primary"] |= {"value": found.primary.value, "low": found.primary.low, "high": found.primary.high}
    files[metrics] = json.dumps(values).encode()


def test_the_trials_of_a_tuned_cell_are_in_the_ledger(shiq: Path, tmp_path: Path) -> None:
    from shiqbench.store.tuned import write_tuned

    cell = recast(shiq, tmp_path / "results", lambda r: r.update(seed=5))
    trials = [{"cell": c * 64, "settings": {"train.updates": u}, "primary": 0.5} for c, u in (("a", 5), ("b", 50))]
    write_tuned(tmp_path / "results", ("shiq", "mdp", None), trials, {"train.updates": 5})
    submit(str(cell), tmp_path / "board")
    write_board(tmp_path / "board", tmp_path / "index.html")
    ledger = tables(tmp_path / "index.html")["Ledger: what training cost"]
    assert "tuned: updates=5" in ledger


def test_folders_without_submissions_and_results_that_exist(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"there is no submission that can be shown \(.*empty\); shiqbench submit CELL"
    ):
        write_board(tmp_path / "empty", tmp_path / "x.html")
    (tmp_path / "empty" / "a.shiqbench.zip").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"can be shown: a\.shiqbench\.zip: no submission: it is no whole zip file"):
        write_board(tmp_path / "empty", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
    with pytest.raises(ConfigError, match=r"exists already \(--results "):
        write_board(folder, tmp_path / "x.html", results=folder)
    assert ask("board", tmp_path / "none").returncode == 2
    write_board(folder, tmp_path / "x.html")
    assert not list((own_cache / "index").iterdir())  # a temporary folder leaves no index behind


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_the_page_in_a_browser_from_disk_without_a_network(folder: Path, width: int, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    write_board(folder, folder / "index.html", baseline="base")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.goto((folder / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", dark)[:3])) < 200) is (scheme == "dark")
        page.locator("main a", has_text=re.compile(r"^0\.")).first.click()
        page.wait_for_selector("#list [aria-current]")  # the page unpacks the examples after a click
        assert page.locator("#list li").count() == 12
        assert wrong == []
        browser.close()
