"""Writes a page: of a report, or of any other :class:`~shiqbench.report.page.content.Page`."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import replacing
from shiqbench.report.make import make_report
from shiqbench.report.page.content import Cell, Figure, Page, examples, linked
from shiqbench.report.page.records import LARGEST
from shiqbench.report.tables import text_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.report.rows import Report

SCRIPTS = ("tables.js", "words.js", "record.js", "examples.js")


def page_of(report: Report, *, largest: float = LARGEST) -> Page:
    """The page of a report.

    Args:
        report: The report.
        largest: MB of embedded records; 0 embeds none.
    """
    blocks, index = report.blocks, report.index
    told, records = examples(index.results, blocks, report.known, largest)
    left_out = [e for e in records if e.why]
    checkpoints = sum(e.update is not None and not e.best for e in index.evaluations.values())
    notes = list(report.notes)
    if left_out:
        notes.append(
            f"RECORDS of {len(left_out)} of {len(records)} evaluations are not in this page: {left_out[0].why}"
        )
    if checkpoints:
        notes.append(f"Records of {checkpoints} evaluations of checkpoints are not in this page")
    rows = [r for b in blocks for r in b.rows]
    facts = [
        ("settings", f"{len(blocks):,}"),
        ("rows", f"{len(rows):,}"),
        ("cells", f"{len({e.cell.folder for r in rows for e in r.evaluations}):,}"),
        ("records", f"{sum(e.count for e in records if not e.why):,}"),
        ("unfinished", f"{len(index.unfinished):,}"),
    ]
    tables = [linked(t, blocks) for t in text_tables(report)]
    at = {t.title: i for i, t in enumerate(tables)}
    compared = [
        Cell(
            f"{b.title}: {len(b.rows)} rows" + (f", compared with {b.baseline}" if b.baseline else ""),
            f"#t{at[b.title]}",
        )
        for b in blocks
    ]
    figures = [_figure(path) for path in report.figures]
    name = index.results.resolve().name
    return Page(f"shiqbench: {name}", facts, compared, tables, figures, notes, told, records)


def report_page(
    results: str | Path,
    output: str | Path,
    *,
    figures: str | Path | None = None,
    largest: float = LARGEST,
    plugins: Sequence[str | Path] = (),
    **how: Any,
) -> list[Path]:
    """Make a report and write its page, with all figures.

    Args:
        results: Results folder.
        output: File to write.
        figures: Folder for the figures; None keeps them in the page only.
        largest: MB of embedded records; 0 embeds none.
        plugins: Local plugin files.
        how: Further arguments of :func:`~shiqbench.report.make.make_report`.

    Returns:
        The files of the figures, if they are kept.
    """
    with TemporaryDirectory() as name:
        folder, files_of = Path(figures or name), tuple(map(Path, plugins))
        report = make_report(results, figures=folder, plugins=files_of, **how)
        draw_fronts(report, folder, files_of)
        write_page(page_of(report, largest=largest), Path(output))
    return report.figures if figures is not None else []


def draw_fronts(report: Report, folder: Path, plugins: tuple[Path, ...] = ()) -> None:
    """Add the fronts of the tasks that have one to the figures of a report, or a note on why there is none."""
    from shiqbench.report.front.make import front

    for task in sorted({b.task for b in report.blocks}):
        spec = report.known[task].spec
        if spec is None or spec.load().front is None:
            continue
        try:
            fronts = front(report.index.results, task, output=folder, plugins=plugins)
        except ConfigError as error:
            report.notes.append(f"no front of {task}: {error.what}")
        else:
            report.figures.extend(f.figure for f in fronts if f.figure is not None)


def _figure(path: Path) -> Figure:
    """A figure with its file's name as caption, and its own words for readers who do not see it."""
    svg = path.read_bytes()
    words = [html.unescape(w).strip() for w in re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())]
    said = [w for w in dict.fromkeys(words) if re.search(r"[^\W\d_]{2}", w)]
    return Figure(path.stem.replace("-", " ").replace("_", " "), "; ".join(said), svg)


def write_page(page: Page, output: Path) -> None:
    """Write a page to a file, completely or not at all."""
    import jinja2
    from pydantic_core import to_json

    here = files("shiqbench.report.page")
    style = (here / "page.css").read_text("utf-8")
    script = "".join((here / name).read_text("utf-8") for name in SCRIPTS)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string((here / "page.html.j2").read_text("utf-8")).render(
        page=page,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        examples=to_json({**page.examples, "opens": page.opens}).decode().replace("<", "\\u003c"),
        images=[base64.b64encode(f.svg).decode() for f in page.figures],
    )
    with replacing(output) as temporary, temporary.open("wb") as stream:
        stream.write(text.encode())
        for number, records in enumerate(page.records):
            if not records.why:
                stream.write(f'<script type="application/octet-stream" id="records-{number}">'.encode())
                stream.write(records.text.encode() + b"</script>\n")
        stream.write(b"</body>\n</html>\n")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
