"""The documentation site: it is built without a warning, has the whole reference, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest
import repository
import typer

import shiqbench.plugin
from shiqbench.commands.app import app
from shiqbench.commands.listing import fields
from shiqbench.plugin.config import EvalConfig, StartConfig, TrainConfig
from shiqbench.plugin.registry import registry

ROOT = Path(__file__).parent.parent
SITE = ROOT / "docs" / "site"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Ids, text, and what a browser loads to show the page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(file.read_text())
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        if tag in LOADS and values.get(LOADS[tag]):
            self.loads.append(values[LOADS[tag]] or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.slow
def test_the_site_is_whole(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, SITE / "build_site.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    pages = {str(file.relative_to(tmp_path)): Page(file) for file in tmp_path.rglob("*.html")}
    commands = pages["reference/commands.html"]
    for name, command_ in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"shiqbench-{name}" in commands.ids
        assert [o for p in command_.params for o in p.opts if o.startswith("-") and o not in commands.text] == []

    found = registry()
    for page, section, specs in (
        ("algorithms", "algo", found.algorithms),
        ("tasks", "task", found.tasks),
        ("engines", "engine", found.engines),
        ("rewards", "task.reward", found.rewards),
    ):
        shown = pages[f"reference/{page}.html"]
        for spec in specs.values():
            assert spec.summary[1:].replace("`", "") in shown.text
            assert [k for k in spec.load_config().model_fields if f"{section}.{k} " not in shown.text] == [], spec.name
    shown = pages["reference/training.html"]
    for section, kind in (("train", TrainConfig), ("start", StartConfig), ("eval", EvalConfig)):
        for key, setting in fields(kind).items():
            assert f"{section}.{key} {setting.kind} {setting.default} {setting.meaning}".strip() in shown.text

    assert [
        n for n in shiqbench.plugin.__all__ if f"shiqbench.plugin.{n}" not in pages["reference/plugin.html"].ids
    ] == []
    assert {"shiqbench.run", "shiqbench.matrix"} <= pages["reference/shiqbench.html"].ids
    assert {"run-files", "matrix-files"} <= pages["reference/schemas.html"].ids
    assert "A first result" in pages["index.html"].text
    assert '"algo.beta"' in pages["examples/paper/fronts.toml.html"].text

    assert [load for page in pages.values() for load in page.loads if re.match(r"(\w+:)?//", load)] == []
    styles = [file.read_text() for file in tmp_path.rglob("*.css")]
    assert [
        url for style in styles for url in re.findall(r"(?:url\(|@import\s)\s*[\"']?((?:https?:)?//[^\"')]+)", style)
    ] == []


@pytest.mark.slow
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# A page\n\n[other](#b) [gone](gone.md) [here](#a-page)\n")
    make = "import sys, build_site as b; sys.exit(b.make(*map(b.Path, sys.argv[1:])))"
    done = subprocess.run(
        [sys.executable, "-c", make, tmp_path, tmp_path / "out"], cwd=SITE, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert re.findall(r"target not found: '(\S+)'", done.stderr) == ["b", "gone.md"]


@pytest.mark.parametrize(
    ("source", "written", "page"),
    [
        ("docs/usage.md", "../examples/run.toml", "examples/run.toml.md"),
        ("docs/decisions/0001-lazy-specs.md", "../../README.md#limits", "../index.md#limits"),
        ("docs/usage.md", "matrix.md#keys", "matrix.md#keys"),
        ("README.md", "docs/decisions", "decisions/index.md"),
        ("results/README.md", "../docs/bfcl_v3.md#score", "../bfcl_v3.md#score"),
        ("README.md", "results/figures/training-mdp-f8464ed8a7fa.svg", "results/figures/training-mdp-f8464ed8a7fa.svg"),
        ("README.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("README.md", "#limits", "#limits"),
    ],
)
def test_links_lead_to_pages_of_the_site(source: str, written: str, page: str) -> None:
    assert repository.with_links(f"see [it]({written}).", PurePosixPath(source)) == f"see [it]({page})."


def test_what_pages_lead_to_is_found_through_pages() -> None:
    found = repository.linked_files([PurePosixPath("docs/usage.md"), PurePosixPath("README.md")])
    assert PurePosixPath("examples/run.toml") in found
    assert PurePosixPath("results/tables/synthetic.md") in found  # README -> results/README.md -> it
