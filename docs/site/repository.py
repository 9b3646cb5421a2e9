"""Files of the repository that pages link to: on a code host they lie outside ``docs/``, here they join the site.

``README.md`` is the home page. Every other file keeps its path: ``../examples/first.toml``, in a link of ``docs/``,
becomes the page ``examples/first.toml``. So one relative link is right in both places.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
DOCS = PurePosixPath("docs")
HOME = PurePosixPath("README.md")
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)")  # of Markdown; neither an address nor an anchor of the same page
LANGUAGES = {".toml": "toml", ".yaml": "yaml", ".py": "python"}  # files that are shown as a page


def page_of(path: PurePosixPath) -> str:
    """The page, or the file of the site, that shows a file or a folder with an index."""
    if path == HOME:
        return "index.md"
    if path.is_relative_to(DOCS):
        inside = str(path.relative_to(DOCS))
        return f"{inside}/index.md" if (ROOT / path).is_dir() else inside
    return f"{path}.md" if path.suffix in LANGUAGES else str(path)


def with_links(text: str, source: PurePosixPath) -> str:
    """Replace the links in a file's Markdown by links between pages; Sphinx reports those that lead nowhere.

    Args:
        text: Markdown.
        source: The file that has it, from the root of the repository.
    """
    folder = posixpath.dirname(page_of(source)) or "."
    return LINK.sub(lambda found: found[1] + posixpath.relpath(page_of(_target(found[2], source)), folder), text)


def linked_files(sources: list[PurePosixPath]) -> list[PurePosixPath]:
    """Of the given files, and of those that they lead to, all that lie outside ``docs/``."""
    found: set[PurePosixPath] = set()
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source not in found and (ROOT / source).is_file():
            found.add(source)
            if source.suffix == ".md":
                waiting += [_target(name, source) for _, name in LINK.findall((ROOT / source).read_text())]
    return sorted(path for path in found if not path.is_relative_to(DOCS))


def content(path: PurePosixPath) -> str | bytes:
    """What the site shows of a file: its Markdown, its text as a block of code, or the file itself."""
    where = ROOT / path
    if path.suffix in LANGUAGES:
        return f"# {path}\n\n```{LANGUAGES[path.suffix]}\n{where.read_text().rstrip()}\n```\n"
    return with_links(where.read_text(), path) if path.suffix == ".md" else where.read_bytes()


def _target(written: str, source: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(posixpath.normpath(source.parent / written))
