"""The usual files of a repository exist, and their content is correct."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import test_layers
import yaml
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FAST = 'python -m pytest -n 2 --dist worksteal -m "not slow and not vllm and not ray and not gpu"'


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def releases() -> list[str]:
    """The sections of the changelog below that of what is not released yet, such as ``1.2.0 (2026-12-01)``."""
    unreleased, *released = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert unreleased == "Unreleased"
    return released


def test_the_changelog_has_a_section_for_every_release() -> None:
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)", title) for title in releases()]
    sections = [(Version(m[1]), m[2]) for m in found if m]
    assert len(sections) == len(found)
    assert sections == sorted(sections, reverse=True)


def test_the_citation_names_the_newest_release_and_the_paper() -> None:
    cited = load("CITATION.cff")
    assert cited["cff-version"] == "1.2.0"
    assert cited.get("version") == next((title.split()[0] for title in releases()), None)
    assert cited["license"] == PROJECT["license"]
    (paper,) = cited["references"]
    assert paper["title"] == "ShiQ: Bringing back Bellman to LLMs"
    assert paper["url"] == "https://arxiv.org/abs/2505.11081"


def test_the_licence_is_the_one_that_the_package_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "Copyright 2026 The shiqbench authors" in text
    assert PROJECT["license-files"] == ["LICENSE"]


def test_the_workflow_runs_what_ci_runs() -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    assert ".ci/run" in [step.get("run") for job in jobs.values() for step in job["steps"]]


def test_the_hooks_before_a_commit_are_the_linter_and_the_type_checker() -> None:
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == ["ruff", "ruff-format", "mypy"]


@pytest.mark.parametrize("name", ["bug_report", "feature_request", "wrong_number"])
def test_an_issue_template_asks_for_what_is_needed(name: str) -> None:
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_contributing_names_the_fast_tests_that_tox_runs() -> None:
    assert FAST in (ROOT / "tox.ini").read_text()
    assert FAST in CONTRIBUTING
    assert "`tox -e fast`" in CONTRIBUTING


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=["CONTRIBUTING", "architecture"])
def test_the_picture_shows_every_room_on_its_floor(page: str) -> None:
    picture = next(b for b in re.findall(r"```text\n(.*?)\n```", page, re.DOTALL) if "commands" in b)
    floors = [{w for w in re.split(r"\s{2,}", line)[:-1] if w} for line in picture.splitlines()]
    rooms = [set(floor) for floor in reversed(test_layers.FLOORS) if "__init__" not in floor]
    assert floors == rooms


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_is_named_exists(page: str) -> None:
    roots = "shiqbench|algorithms|tasks|tests|docs|examples|benchmarks|results"
    named = re.findall(rf"`((?:{roots})/[\w./-]*)`", (ROOT / page).read_text())
    assert len(named) > 10
    assert [p for p in named if not (ROOT / p).exists()] == []


def test_every_module_of_the_table_is_in_its_room() -> None:
    table = ARCHITECTURE.partition("## What the modules do")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:`(\w+)`)? ?\| ([^|]*)\|", table, re.MULTILINE)
    room, missing, seen = "", [], set()
    for named, modules in rows:
        room = named or room
        seen.add(room)
        for module in re.findall(r"`([\w/]+)`", modules):
            path = ROOT / "shiqbench" / room / module
            if not (path.is_dir() if module.endswith("/") else path.with_suffix(".py").exists()):
                missing.append(f"{room}/{module}")
    assert missing == []
    assert seen >= {room for floor in test_layers.FLOORS for room in floor} - {"api", "__init__", "__main__"}


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results" / "README.md"]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            file, _, anchor = target.partition("#")
            where = (page.parent / file) if file else page
            if "://" in target:
                continue
            headings = re.findall(r"^#+ (.+)$", where.read_text(), re.MULTILINE) if where.suffix == ".md" else []
            anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            if not where.exists() or (anchor and anchor not in anchors):
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_long_pages_have_a_table_of_contents(path: Path) -> None:
    text = path.read_text()
    if len(text.splitlines()) > 80:
        chapters = re.findall(r"^## (.+)$", text, re.MULTILINE)
        listed = text.partition("\n## ")[0]
        assert [c for c in chapters if f"[{c}](#" not in listed] == []


def test_entries_of_the_changelog_are_short() -> None:
    entries = re.findall(r"^- (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(entries) > 50
    assert [e for e in entries if len(e.split()) > 25] == []
