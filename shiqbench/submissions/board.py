"""``board``: a folder of submissions becomes one page: the report of all their cells, and a table of the files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.base.errors import ConfigError, ShiqbenchError
from shiqbench.base.findings import Finding, State
from shiqbench.base.words import counted
from shiqbench.report.make import make_report
from shiqbench.report.page.content import Cell, Table
from shiqbench.report.page.make import draw_fronts, page_of, write_page
from shiqbench.report.page.records import LARGEST
from shiqbench.report.side_by_side import visible
from shiqbench.store.folder import results_folder
from shiqbench.store.index.kept import database_of
from shiqbench.submissions.archive import CONFIG, MANIFEST, METRICS, SUFFIX, Submission, facts_of, read_submission
from shiqbench.submissions.verify import check_submission, problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = ("submission", "cell", "seed", "start", "evaluations", "made", "shiqbench", "verified", "sha256")
ABOUT = (
    "verified: digests and metrics were computed again from the recipe and the records, and single scores where the "
    "task can; nobody trained the cell again, so a board is as honest as its submitters"
)


@dataclass(frozen=True)
class Shown:
    """A submission on a board.

    Attributes:
        name: Its file, below the folder of the board.
        submission: The submission.
        checks: What was checked.
        sha256: Sha256 of the file.
    """

    name: str
    submission: Submission
    checks: Sequence[Finding]
    sha256: str


@dataclass
class Board:
    """The submissions of a folder.

    Attributes:
        shown: Those that are on the board.
        refused: Name of each file that does not agree with itself, and why.
        repeated: Name of each file with a cell that another one has, and what both say.
    """

    shown: list[Shown] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """A line per file that is not shown."""
        return [
            *(f"REFUSED: {name}: {why}" for name, why in self.refused),
            *(f"not shown: {name}: {why}" for name, why in self.repeated),
        ]

    def table(self) -> Table:
        """The table of the files."""
        rows = [[Cell(text) for text in _row(each)] for each in self.shown]
        return Table("Submissions", HEAD, rows, [ABOUT, *self.notes])


def read_board(folder: Path, results: Path, plugins: tuple[Path, ...] = ()) -> Board:
    """Verify every submission below a folder, and unpack those that agree into a results folder.

    Of two submissions of one cell the first by name is shown.

    Args:
        folder: Folder of the files, such as a clone of a git repository; hidden folders are left out.
        results: Results folder to write; a report reads it like any other.
        plugins: Local plugin files.

    Raises:
        ConfigError: There is no such folder, no submission in it, or none that may be shown.
    """
    board, cells, tuned = Board(), dict[str, Shown](), dict[str, bytes]()
    for path in _files(results_folder(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            submission = read_submission(path)
            checks = check_submission(submission, plugins)
        except ShiqbenchError as error:
            board.refused.append((name, visible(error.what)))
            continue
        shown = Shown(name, submission, checks, facts_of(path.read_bytes()).sha256)
        if wrong := problems(checks):
            board.refused.append((name, f"{wrong[0].name}: {wrong[0].text}"))
        elif unlike := [n for n, c in _tuned(submission) if tuned.setdefault(n, c) != c]:
            board.refused.append((name, f"its {unlike[0]} is not that of the other submissions"))
        elif (first := cells.setdefault(submission.cell, shown)) is not shown:
            board.repeated.append((name, f"{first.name} has the same cell; {_both(first.submission, submission)}"))
        else:
            submission.unpack(results)
            board.shown.append(shown)
    if not board.shown:
        why = "".join(f": {name}: {text}" for name, text in board.refused[:1])
        raise ConfigError(
            f"there is no submission that can be shown{why}",
            where=str(folder),
            do="shiqbench submit CELL --into FOLDER writes one",
        )
    return board


def write_board(
    folder: Path,
    output: Path,
    *,
    results: Path | None = None,
    title: str | None = None,
    largest: float = LARGEST,
    plugins: tuple[Path, ...] = (),
    **how: Any,
) -> Board:
    """Write the page of a folder of submissions.

    Args:
        folder: Folder of the files.
        output: File to write.
        results: New results folder to keep; None unpacks into a temporary one.
        title: Title of the page; None takes the folder's name.
        largest: MB of embedded records; 0 embeds none.
        plugins: Local plugin files.
        how: Further arguments of :func:`~shiqbench.report.make.make_report`.

    Raises:
        ConfigError: As in :func:`read_board`, or the results folder is not new.
    """
    if results is not None and results.exists() and (not results.is_dir() or any(results.iterdir())):
        raise ConfigError("it exists already", where=f"--results {results}", do="name a new folder, or delete it")
    with TemporaryDirectory() as name:
        at, drawn = results or Path(name) / "results", Path(name) / "figures"
        board = read_board(folder, at, plugins)
        try:
            report = make_report(at, figures=drawn, plugins=plugins, **how)
            draw_fronts(report, drawn, plugins)
            page = page_of(report, largest=largest)
        finally:
            if results is None:  # what the index has kept of a folder that is gone
                database_of(at).unlink(missing_ok=True)
        facts = [("submissions", str(len(board.shown))), *page.facts]
        facts += [("refused", str(len(board.refused)))] * bool(board.refused)
        page = replace(
            page,
            title=title or f"shiqbench board: {folder.resolve().name}",
            facts=facts,
            tables=[*page.tables, board.table()],
            notes=[*page.notes, *board.notes],
        )
        write_page(page, output)
    return board


def _files(folder: Path) -> Iterator[Path]:
    """The submissions below a folder, in the order of their names; links and hidden folders are not followed."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.name.endswith(SUFFIX):
            yield path


def _tuned(submission: Submission) -> list[tuple[str, bytes]]:
    return [(name, content) for name, content in submission.files.items() if name.startswith("tuned/")]


def _both(first: Submission, second: Submission) -> str:
    """What two submissions of one cell measured."""
    said = []
    for folder in second.evaluations:
        one, two = (_json(each, f"{folder}/{METRICS}") for each in (first, second))
        if one is not None and two is not None:
            a, b = one["primary"], two["primary"]
            same = "the same" if a["value"] == b["value"] else f"{b['value']:.6g} instead of {a['value']:.6g}"
            said.append(f"{a['name']}: {same}")
    return "; ".join(said) or "they have no evaluation in common"


def _json(submission: Submission, name: str) -> dict[str, Any] | None:
    content = submission.files.get(name)
    found: dict[str, Any] | None = None if content is None else json.loads(content)
    return found


def _row(shown: Shown) -> list[str]:
    """The texts of a row of the table."""
    submission = shown.submission
    recipe, manifest = (json.loads(submission.files[f"{submission.cell}/{name}"]) for name in (CONFIG, MANIFEST))
    warned = sum(check.state is State.WARNING for check in shown.checks)
    agree = f"{counted(len(shown.checks) - warned, 'check')} agree" + (f", {warned} not possible" if warned else "")
    seed = recipe.get("seed")
    return [
        shown.name,
        submission.cell,
        "-" if seed is None else str(seed),
        str(manifest.get("start") or manifest.get("model") or "-"),
        str(sum(name.endswith(f"/{METRICS}") for name in submission.files)),
        str(manifest.get("created") or "-")[:10],
        str(manifest.get("shiqbench") or "-"),
        agree,
        short(shown.sha256),
    ]
