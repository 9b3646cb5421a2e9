"""The tutorial as a list of steps: files to save, commands to run, and what they print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial"
BLOCK = re.compile(r"^(?P<before>[^\n]*)\n+```(?P<kind>\w+)\n(?P<text>.*?)\n```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One block of a page.

    Attributes:
        page: Name of the page.
        kind: Language of the block; ``sh`` has commands, ``text`` what the last one prints, others are files.
        text: Content of the block.
        file: Name under which the reader saves it, if it is a file.
        reason: Why its commands are not run; empty if they are.
    """

    page: str
    kind: str
    text: str
    file: str = ""
    reason: str = ""

    @property
    def commands(self) -> list[str]:
        """Lines without comments."""
        return [line for line in (re.sub(r"\s+# .*", "", line) for line in self.text.splitlines()) if line]


def steps(page: Path) -> list[Step]:
    """The blocks of one page, in order."""
    found = []
    for block in BLOCK.finditer(page.read_text()):
        saved = re.search(r"as `([\w.]+)`:$", block["before"])
        reason = re.fullmatch(r"<!-- not run: (.+) -->", block["before"])
        found.append(
            Step(page.name, block["kind"], block["text"], saved[1] if saved else "", reason[1] if reason else "")
        )
    return found


def pages() -> list[Path]:
    """The pages in the order of the overview."""
    return [
        TUTORIAL / name
        for name in re.findall(r"^\d+\. \[[^]]+\]\((\w+\.md)\)", (TUTORIAL / "index.md").read_text(), re.MULTILINE)
    ]
