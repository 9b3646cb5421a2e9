"""``compare``: finds the two evaluations, and shows an example side by side on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, write_text
from shiqbench.commands.common import emit, show_markdown
from shiqbench.plugin.registry import registry
from shiqbench.report.compare import compare as compare_evaluations
from shiqbench.report.compare import different_settings
from shiqbench.report.known import known_tasks
from shiqbench.report.ledger import Ledger
from shiqbench.report.scores import ScoreBook
from shiqbench.store.cell import DONE, locate
from shiqbench.store.index import Index, read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType
    from rich.text import Text

    from shiqbench.report.compare import Comparison, Example
    from shiqbench.report.side_by_side import Message
    from shiqbench.store.index import EvaluationEntry

WIDE = 110  # characters of a terminal that shows two columns


def compare(left: str, right: str, results: Path = Path("results"), plugins: tuple[Path, ...] = ()) -> Comparison:
    """Compare two cells, or two evaluations, example by example.

    Args:
        left: Folder or first digits of the digest of a cell or an evaluation, or ``algorithm/DIGITS``.
        right: The same for the second, which is subtracted.
        results: Results folder, in which digests are searched.
        plugins: Local plugin files.

    Raises:
        ConfigError: One is not found or not finished, or the two have no setting in common, or several.
        CorruptCellError: A file differs from what was written.
    """
    one, other = choose(*(evaluations_of(text, results) for text in (left, right)))
    found = registry(plugins)
    known = known_tasks([one, other], found)[one.task]
    folders = [Path(e.folder).parents[4] for e in (one, other)]
    made = compare_evaluations(one, other, known, ScoreBook(results), Ledger(Index(folders[0]), found))
    if folders[0] != folders[1]:
        made.block.notes.append("they are in two results folders: the tuning of B is not known here")
    return made


def evaluations_of(text: str, results: Path) -> list[EvaluationEntry]:
    """The evaluation that the text names, or all evaluations of the final weights of the cell that it names.

    Raises:
        ConfigError: Nothing or too much matches, or it is not finished.
        CorruptCellError: A file differs from what was written.
    """
    folder = locate(text.removeprefix("cell:"), results, evaluations=True)
    if "algorithm" not in read_json(folder / "config.json"):
        if not all((f / DONE).is_file() for f in (folder, folder.resolve().parent.parent)):
            raise ConfigError("that evaluation is not finished", where=str(folder), do="run its cell again")
        return [read_evaluation(folder)]
    done = [f.parent for f in sorted((folder / "eval").glob(f"*/{DONE}"))] if (folder / DONE).is_file() else []
    found = [e for e in map(read_evaluation, done) if e.update is None]
    if not found:
        raise ConfigError("that cell has no finished evaluation", where=str(folder), do="run it first")
    return found


def choose(
    left: Sequence[EvaluationEntry], right: Sequence[EvaluationEntry]
) -> tuple[EvaluationEntry, EvaluationEntry]:
    """Return the only two evaluations that have the same setting.

    Raises:
        ConfigError: There are none or several.
    """
    pairs = [(a, b) for a in left for b in right if a.setting.key == b.setting.key]
    if not pairs:
        raise different_settings(left, right)
    if len(pairs) > 1:
        told = "; ".join(f"{_short(a)} and {_short(b)} ({_setting(a)})" for a, b in pairs)
        raise ConfigError(
            f"they have {len(pairs)} settings in common: {told}",
            where=f"{pairs[0][0].cell.folder}, {pairs[0][1].cell.folder}",
            do="give two evaluations in place of the cells: their digests or folders",
        )
    return pairs[0]


def _short(evaluation: EvaluationEntry) -> str:
    return Path(evaluation.folder).name


def _setting(evaluation: EvaluationEntry) -> str:
    said = [evaluation.task, evaluation.split, evaluation.primary["name"], evaluation.engine]
    return " ".join(filter(None, said))


def show_comparison(
    found: Comparison, example: Example | None, count: int | None, *, output: Path | None, as_json: bool
) -> None:
    """Print a comparison, or one example of it, or write it to a file.

    Args:
        found: The comparison.
        example: The only example to show; None shows those that differ most.
        count: Number of examples; None is 10, or all in JSON.
        output: File for markdown; None prints.
        as_json: Whether to print JSON.
    """
    from shiqbench.report import compare_text as text

    if as_json:
        emit(text.as_json(found, found.examples[:count] if example is None else [example]))
    elif output is None and example is not None and sys.stdout.isatty():
        from rich.console import Console

        show_example(found, example, Console())
    else:
        made = text.markdown(found, count) if example is None else text.example_markdown(found, example)
        show_markdown(made) if output is None else write_text(output, made)


def show_example(found: Comparison, example: Example, console: Console) -> None:
    """Print an example in full: two columns on a wide terminal, one after the other on a narrow one."""
    from rich.markdown import Markdown
    from rich.table import Table
    from rich.text import Text

    from shiqbench.report.compare_text import heading, place, scores
    from shiqbench.report.side_by_side import in_pairs, visible

    a, b, less, higher = scores(found, example)
    console.print(Markdown(heading(found)))
    line = f"example {visible(example.name)}: " + (
        f"left out ({higher})" if example.why else f"A {a}, B {b}, A less B {less}; higher: {higher}"
    )
    console.print(Text(line, style="bold"))
    if example.first is not None:
        console.print(Text.assemble("only in A: ", ("words", ONLY[0]), "; only in B: ", ("words", ONLY[1])))
    for pair in example.pairs:
        if pair.title:
            console.rule(Text(visible(pair.title)))
        for i, one, j, other in in_pairs(pair.left, pair.right):
            console.print()
            if one is not None and one == other:
                console.print(Text(f"A and B, {place(i, j)} ({one.role})", style="dim"))
                console.print(Text(visible(one.text)))
                continue
            sides = [
                _side(letter, n, m, t)
                for letter, n, m, t in zip("AB", (i, j), (one, other), _texts(one, other), strict=True)
            ]
            if console.width < WIDE:
                console.print(*(s for s in sides if s is not None), sep="\n")
                continue
            grid = Table.grid(padding=(0, 2), expand=True)
            grid.add_column(ratio=1)
            grid.add_column(ratio=1)
            grid.add_row(*(s or "" for s in sides))
            console.print(grid)


ONLY = ("bold red underline", "bold green underline")  # words that the other text lacks
APART = ("red", "green")  # texts that are not alike
ALIKE = 0.3  # share of the shorter text that both have in common, from which on words are marked


def _side(letter: str, number: int | None, message: Message | None, text: Text) -> RenderableType | None:
    from rich.console import Group
    from rich.text import Text

    if message is None:
        return None
    return Group(Text(f"{letter}, message {number} ({message.role})", style="dim"), text)


def _texts(one: Message | None, other: Message | None) -> list[Text]:
    from rich.text import Text

    from shiqbench.report.side_by_side import marked, visible

    texts = ["" if m is None else m.text for m in (one, other)]
    sides = marked(*texts)
    same = sum(len(text) for text, differs in sides[0] if not differs)
    if same < ALIKE * min(map(len, texts)) or not same:  # marks on nearly every word would hide the text
        return [Text(visible(text), style=style) for text, style in zip(texts, APART, strict=True)]
    return [
        Text.assemble(*((visible(t), style if differs else "") for t, differs in side))
        for side, style in zip(sides, ONLY, strict=True)
    ]
