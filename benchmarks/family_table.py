"""The table of docs/models.md: the families of `families.py` and the embedded model, by `shiqbench doctor --model`.

python benchmarks/family_table.py
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from families import FAMILIES, build

from shiqbench.running.model_check import model_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.base.findings import Finding

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- table: python benchmarks/family_table.py -->\n", "<!-- end of table -->\n"
COLUMNS = (
    *("family", "prompts", "trained answers", "own forward pass", "engine", "shared prefixes", "end of turn"),
    *("other stop ids", "tools", "thinking", "date"),
)
NUMBERS = ("own forward pass", "engine")
NAMED = 3  # kinds of conversation that a cell names at most
TOOLS = {"offered tools", "tool calls", "tool results"}


def row(family: str, findings: Sequence[Finding]) -> dict[str, str]:
    """Return the cells of a family; a model that is refused has one cell with the reason."""
    found = {finding.name: finding for finding in findings}
    if "prompts" not in found:
        return {"family": family, "prompts": "refused: " + " ".join(f.text for f in findings)}
    stops = re.split(r" \(\d+\)(?:, |$)", found["stop ids"].text)
    cells = {
        "family": family,
        "prompts": _counted("prompts", findings),
        "trained answers": _counted("trained answers", findings),
        "own forward pass": found["own forward pass"].text.partition(" ")[0],
        "engine": found["engine transformers"].text.partition(" ")[0],
        "shared prefixes": "yes" if found["shared prefixes"].text == "computed once" else "no",
        "end of turn": f"`{stops[0]}`",
        "other stop ids": " ".join(f"`{stop}`" for stop in stops[1:] if stop),
        "tools": ", ".join(re.findall(r"(\w+) yes", found["tools"].text)) or "no",
        "thinking": re.sub(r"^([<\[].*?)(?=;)", r"`\1`", found["thinking"].text).replace("none", "no"),
        "date": "fixed" if "fixed" in found["date"].text else "no",
    }
    return {column: text.replace("|", "\\|") for column, text in cells.items()}


def _counted(part: str, findings: Sequence[Finding]) -> str:
    """How many kinds of conversation are right, what the template changes, and which kinds are refused."""
    text = next(f.text for f in findings if f.name == part)
    count, _, rules = text.partition(" kinds of conversation as the template writes them")
    named = [f.name.partition(": ")[2] for f in findings if f.name.startswith(f"{part}: ")]
    kinds = [kind for names in named for kind in names.split(", ") if kind not in TOOLS]
    return count + (f", not: {', '.join(kinds)}" if 0 < len(kinds) <= NAMED else "") + rules


def table() -> str:
    """Return the table in Markdown."""
    rows = []
    for family, one in FAMILIES.items():
        with tempfile.TemporaryDirectory() as name:
            rows.append(row(f"{family} (`{one.model_type}`)", model_findings(build(family, Path(name)))))
        sys.stderr.write(f"{family}\n")
    from shiqbench.models.embedded import EMBEDDED_MODEL, embedded_model

    rows.append(row(f"{EMBEDDED_MODEL}, real weights", model_findings(embedded_model())))
    lines = ["|".join(cells.get(column, "") for column in COLUMNS) for cells in rows]
    return "".join(f"|{line}|\n" for line in ("|".join(COLUMNS), "|".join("---" for _ in COLUMNS), *lines))


def rows_of_page() -> dict[str, dict[str, str]]:
    """Return the cells of the page's table, by family."""
    lines = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    rows = [dict(zip(COLUMNS, re.split(r"(?<!\\)\|", line)[1:-1], strict=True)) for line in lines]
    return {cells["family"].partition(" (")[0]: cells for cells in rows}


if __name__ == "__main__":
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        text.partition(BEGIN)[0] + BEGIN + "\n" + table() + "\n" + END + text.partition(END)[2], encoding="utf-8"
    )
