"""How a table fits a width of LaTeX: which columns, which font, where text is broken."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters
from typing import TYPE_CHECKING, NamedTuple

from shiqbench.report.formats.latex_text import escaped, width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

NONE = "-"  # a cell without a value
_NUMBER = r"[<>]?-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
_PLAIN = re.compile(r"-?\d+(\.\d+)?")
_POWER = re.compile(r"([<>]?-?[\d.]+)e([+-]?\d+)")
_COUNTS = re.compile(r"\d+(?:[/,-] ?\d+)*")  # seeds, and better/worse/same
_ESTIMATE = re.compile(rf"({_NUMBER})(?: (\[{_NUMBER}, {_NUMBER}\]))?( ?\S{{0,3}})")
_WIDEST_KEY = 0.28  # of the table's width; longer text is broken into lines
_WIDEST_TEXT = 0.4
_LEAST_TEXT = 0.15  # narrower text is hard to read: a smaller font is better
_BOLD = 1.15  # how much wider bold text is in Computer Modern
_TEXT_HEADING = 32.0  # pt at 10 pt: a heading above text may be as wide as that in one line


class Size(NamedTuple):
    """A font size: its command, its scale and line in pt for a paper at 10 pt, and half the space between columns."""

    command: str
    scale: float
    line: float
    space: float


SIZES = (Size("small", 0.93, 11, 4), Size("footnotesize", 0.86, 9.5, 3.5), Size("scriptsize", 0.8, 8, 2.5))


@dataclass(frozen=True)
class Column:
    """A column as text.

    Attributes:
        head: Its name.
        cells: Its cells.
        bold: Number of the row that is bold.
    """

    head: str
    cells: Sequence[str]
    bold: int | None = None

    @cached_property
    def kind(self) -> str:
        """``number``, ``estimate`` (a number with its interval), ``counts`` or ``text``."""
        given = [c for c in self.cells if c not in (NONE, "")]
        if not given:
            return "text"
        if all(re.fullmatch(_NUMBER, c) for c in given):
            return "number"
        if all(_COUNTS.fullmatch(c) for c in given):
            return "counts"
        return "estimate" if all(_ESTIMATE.fullmatch(c) for c in given) else "text"

    @cached_property
    def natural(self) -> float:
        """Width of its cells at 10 pt."""
        if self.bold is None or self.cells[self.bold] in (NONE, ""):
            return self._plain
        return max(
            self._plain, _BOLD * (width(self.cells[self.bold]) if self.kind in ("text", "counts") else self._plain)
        )

    @cached_property
    def _plain(self) -> float:
        if self.kind == "number":
            return _padded_width(self.cells)
        if self.kind != "estimate":
            return max(map(width, self.cells), default=0.0)
        found = [m for c in self.cells if (m := _ESTIMATE.fullmatch(c))]
        ends = [re.findall(_NUMBER, m[2]) for m in found if m[2]]
        both = sum(_padded_width([e[side] for e in ends]) for side in (0, 1)) + width("[, ]") if ends else 0.0
        return (
            _padded_width([m[1] for m in found])
            + width(" ")
            + both
            + max(width(" " * bool(m[3]) + m[3]) for m in found)
        )

    @cached_property
    def heading(self) -> list[str]:
        """Its name in lines that are no wider than its cells, if its words allow it."""
        pieces = re.findall(r"(?:\[[^\]]*\]|[^ /])*[ /]?", self.head)[:-1]  # [95 %] stays in one line
        room = max([self.natural if self.kind != "text" else _TEXT_HEADING, *(width(p.strip()) for p in pieces)])
        lines = [""]
        for piece in pieces:
            if lines[-1] and width((lines[-1] + piece).strip()) > room:
                lines.append("")
            lines[-1] += piece
        return [line.strip() for line in lines]

    @cached_property
    def widest(self) -> float:
        """Width without any break in the cells, at 10 pt."""
        return max([self.natural, *map(width, self.heading)])

    def lines(self, at: float) -> list[int]:
        """Number of lines of each cell if it is broken at this width (at 10 pt)."""
        return [math.ceil(width(c) * 1.2 / at) if width(c) > at else 1 for c in self.cells]


@dataclass(frozen=True)
class Part:
    """A part of a table that fits.

    Attributes:
        columns: Its columns.
        widths: Width of each column in pt.
        size: Its font.
    """

    columns: list[Column]
    widths: list[float]
    size: Size

    @property
    def heights(self) -> list[float]:
        """Height of each row in pt."""
        of_columns = [
            c.lines(w / self.size.scale) if c.kind == "text" else [1] * len(c.cells)
            for c, w in zip(self.columns, self.widths, strict=True)
        ]
        return [max(lines) * self.size.line for lines in zip(*of_columns, strict=True)]

    def squeezed(self, room: float) -> bool:
        """Whether text has much less room than it needs."""
        least = [min(c.widest * self.size.scale, _LEAST_TEXT * room) for c in self.columns]
        return any(w < at_least - 1e-6 for w, at_least in zip(self.widths, least, strict=True))


def with_letters(frame: pd.DataFrame, room: float) -> tuple[pd.DataFrame, list[str]]:
    """Put short names for long text that names rows: every part of a table repeats these columns.

    In the first column that is the first word, if it tells the rows apart; after it, letters.

    Returns:
        The frame, and a note per short name.
    """
    columns = columns_of(frame)
    found, notes, letters = frame.copy(), list[str](), iter(ascii_letters)
    left = len(ascii_letters)
    for i in range(_keys(columns)):
        values = [v for v in dict.fromkeys(columns[i].cells) if v not in (NONE, "")]
        if columns[i].natural * SIZES[-1].scale <= _WIDEST_KEY * room:
            continue
        if i == 0:
            short = {v: v.split(" ")[0] for v in values}
            if len(set(short.values())) < len(values):
                continue
            notes += [f"{word}: {value}" for value, word in short.items() if word != value]
        elif len(values) > left:
            continue
        else:
            short = dict(zip(values, letters, strict=False))
            left -= len(values)
            notes += [f"({letter}) {value}" for value, letter in short.items()]
        found.isetitem(i, [short.get(v, v) for v in columns[i].cells])
    return found, notes


def columns_of(frame: pd.DataFrame, bold: int | None = None) -> list[Column]:
    """The columns of a frame of text."""
    return [Column(str(name), list(map(str, frame.iloc[:, i])), bold) for i, name in enumerate(frame.columns)]


def _keys(columns: Sequence[Column]) -> int:
    """Number of columns that name a row: those before the first number."""
    texts = [c.kind == "text" for c in columns]
    return 1 if all(texts) else max(1, texts.index(False))


def fit(frame: pd.DataFrame, room: float, together: int = 0, bold: int | None = None) -> list[Part]:
    """Parts of a table that each fit a width: as few as possible, in the largest font that allows it.

    Every part begins with the columns that name a row.

    Args:
        frame: The table.
        room: Width in pt.
        together: Number of columns after those that belong in one part: a smaller font is better than two parts.
        bold: Number of the row that is bold.
    """
    columns = columns_of(frame, bold)
    least = _keys(columns) + together
    tried = [_parts(columns, size, room) for size in SIZES]
    return min(
        tried, key=lambda parts: (any(p.squeezed(room) for p in parts), len(parts[0].columns) < least, len(parts))
    )


def _parts(columns: Sequence[Column], size: Size, room: float) -> list[Part]:
    keys = _keys(columns)
    widths = [_width(c, size, room, i < keys) for i, c in enumerate(columns)]
    others = max(widths[keys:], default=0.0)
    most = room - others - 2 * size.space * (keys if keys < len(columns) else keys - 1)
    if (named := sum(widths[:keys])) > most:
        widths[:keys] = [w * most / named for w in widths[:keys]]
    taken = sum(widths[:keys]) + 2 * size.space * (keys - 1)
    groups: list[list[int]] = [[]]
    left = room - taken
    for i in range(keys, len(columns)):
        needed = widths[i] + 2 * size.space
        if needed > left and groups[-1]:
            groups.append([])
            left = room - taken
        groups[-1].append(i)
        left -= needed
    found = []
    for group in groups:
        chosen = [*range(keys), *group]
        some = [columns[i] for i in chosen]
        found.append(Part(some, _stretched(some, [widths[i] for i in chosen], size, room), size))
    return found


def _width(column: Column, size: Size, room: float, is_key: bool) -> float:
    whole = column.widest * size.scale
    return min(whole, room * (_WIDEST_KEY if is_key else _WIDEST_TEXT)) if column.kind == "text" else whole


def _stretched(columns: Sequence[Column], widths: list[float], size: Size, room: float) -> list[float]:
    """Give the room that is left to broken text."""
    left = room - sum(widths) - 2 * size.space * (len(columns) - 1)
    wanted = [max(0.0, c.widest * size.scale - w) for c, w in zip(columns, widths, strict=True)]
    share = min(1.0, max(0.0, left) / sum(wanted)) if sum(wanted) else 0.0
    return [w + share * more for w, more in zip(widths, wanted, strict=True)]


def broken(text: str, room: float) -> str:
    """Text that may be broken after ``=``, ``,``, ``/`` and the like, not in a number, and where nothing else fits.

    Args:
        text: The text.
        room: Width in pt at 10 pt.
    """
    words = []
    for word in text.split(" "):
        pieces = re.findall(r".*?(?:[=/_:;-]|[.,](?!\d))+|.+$", word)
        words.append(r"\penalty500{}".join(escaped(p) if width(p) <= room else _anywhere(p) for p in pieces))
    return " ".join(words)


def _anywhere(text: str) -> str:
    return r"\penalty500{}".join(map(escaped, text))


def aligned(column: Column) -> list[list[str]]:
    """The cells for LaTeX, with signs and decimals below each other; an estimate gives two, value and interval."""
    if column.kind == "number":
        return [[n] for n in _numbers(column.cells)]
    if column.kind == "counts":
        return [[c.replace("-", r"\textendash{}")] for c in column.cells]
    if column.kind == "text":
        return [[r"\textendash" if c == NONE else escaped(c)] for c in column.cells]
    found = [_ESTIMATE.fullmatch(c) for c in column.cells]
    values = _numbers([m[1] if m else c for m, c in zip(found, column.cells, strict=True)])
    ends = [re.findall(_NUMBER, m[2]) if m and m[2] else ["", ""] for m in found]
    lows, highs = (_padded([e[side] for e in ends]) for side in (0, 1))
    marks = [escaped(m[3].strip()) if m else "" for m in found]
    return [
        [value, (f"{before}[{low}, {gap}{high}]" if low else "") + (f"~{mark}" if mark else "")]
        for value, (before, low), (gap, high), mark in zip(values, lows, highs, marks, strict=True)
    ]


def _numbers(cells: Iterable[str]) -> list[str]:
    return [gap + number for gap, number in _padded(cells)]


def _padded(cells: Iterable[str]) -> list[tuple[str, str]]:
    """Numbers with true minus signs; invisible digits and signs, here the first text, make decimal points meet."""
    numbers = list(cells)
    sign, before, after = _shape(numbers)
    found = []
    for n in numbers:
        if not _PLAIN.fullmatch(n):
            found.append(("", _other_number(n)))
            continue
        whole, _, decimals = n.lstrip("-").partition(".")
        lacks = "0" * (before - len(whole)) + ("$-$" if sign and not n.startswith("-") else "")
        ends = ("" if decimals or not after else ".") + "0" * (after - len(decimals))
        found.append((_phantom(lacks), n.replace("-", "$-$") + _phantom(ends)))
    return found


def _shape(numbers: Iterable[str]) -> tuple[bool, int, int]:
    """Whether plain numbers have a sign, and the most digits before and after the point."""
    plain = [n for n in numbers if _PLAIN.fullmatch(n)]
    before = max((len(n.lstrip("-").split(".")[0]) for n in plain), default=0)
    return any(n.startswith("-") for n in plain), before, max((len(n.partition(".")[2]) for n in plain), default=0)


def _padded_width(numbers: Sequence[str]) -> float:
    sign, before, after = _shape(numbers)
    padded = "−" * sign + "0" * before + ("." + "0" * after if after else "")
    others = (n.replace("-", "−") for n in numbers if not _PLAIN.fullmatch(n))
    return max(map(width, [padded, *others]))


def _phantom(text: str) -> str:
    return rf"\phantom{{{text}}}" if text else ""


def _other_number(text: str) -> str:
    if text == NONE:
        return r"\textendash"
    if power := _POWER.fullmatch(text):
        return escaped(power[1]) + "e" + str(int(power[2])).replace("-", "$-$")
    return escaped(text)
