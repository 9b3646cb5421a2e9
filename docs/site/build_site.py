"""Build the documentation site: ``python docs/site/build_site.py FOLDER``; a warning, such as of a wrong link, fails.

Sphinx reads a temporary folder with all pages: those of ``docs/``, the home page from ``README.md``, what these link to
outside ``docs/``, and a reference made from the code.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path, PurePosixPath

import reference
import repository
from sphinx.cmd.build import main as sphinx_build

HERE = Path(__file__).resolve().parent
OWN = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md"}  # outside docs/, and in the navigation
ORPHAN = "---\norphan: true\n---\n\n"


def collect(into: Path) -> None:
    """Write all pages, and the files that they show, into an empty folder."""
    docs = repository.ROOT / "docs"
    shutil.copytree(docs, into, ignore=shutil.ignore_patterns("site", "__pycache__"), dirs_exist_ok=True)
    sources = [PurePosixPath("docs", page.relative_to(into)) for page in sorted(into.rglob("*.md"))]
    made: dict[str, str | bytes] = {**reference.pages(), "decisions/index.md": decisions(docs / "decisions")}
    for source in [*sources, *repository.linked_files([*map(PurePosixPath, OWN), *sources])]:
        shown = repository.content(source)
        listed = source in sources or str(source) in OWN or not isinstance(shown, str)
        made[repository.page_of(source)] = shown if listed else ORPHAN + str(shown)
    made["index.md"] = f"{repository.content(repository.HOME)!s}\n{(HERE / 'navigation.md').read_text()}"
    for page, shown in made.items():
        file = into / page
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(shown.encode() if isinstance(shown, str) else shown)


def decisions(folder: Path) -> str:
    """An overview of the decisions, by number."""
    titles = {page.stem: page.read_text().partition("\n")[0].lstrip("# 0123456789") for page in folder.glob("*.md")}
    listed = "\n".join(f"{stem[:4]} {title} <{stem}>" for stem, title in sorted(titles.items()))
    return f"# Decisions\n\nWhy things are as they are.\n\n```{{toctree}}\n{listed}\n```\n"


def make(pages: Path, output: Path) -> int:
    """Make the site of collected pages, and return Sphinx's exit code."""
    strict = ["--fail-on-warning", "--fresh-env", "--quiet"]
    return sphinx_build(
        [*strict, "--doctree-dir", str(pages / ".doctrees"), "--conf-dir", str(HERE), str(pages), str(output)]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("output", type=Path, metavar="FOLDER", help="where index.html goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        collect(Path(folder))
        raise SystemExit(make(Path(folder), arguments.output))
