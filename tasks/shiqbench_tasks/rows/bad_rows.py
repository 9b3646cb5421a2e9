"""Rows that cannot be used: refused together in one line, or left out and counted, by cause."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from shiqbench.plugin import ConfigError

SHOWN = 5  # rows that are named for each cause


class Place(NamedTuple):
    """Where a row is: its split, and its number from 1 as an editor counts lines."""

    split: str
    number: int


class BadRow(Exception):  # noqa: N818 - a finding about the data, which may be no error
    """A row that cannot be used.

    Args:
        cause: Why, in words that are the same for every row of this kind.
        do: What helps, in addition to fixing the row.
        value: What this row has instead.
    """

    def __init__(self, cause: str, do: str = "", value: object = "") -> None:
        super().__init__(cause)
        self.cause, self.do = cause, do
        self.value = "" if value == "" else f"{value:g}" if isinstance(value, float) else repr(value)[:40]


class WrongColumn(BadRow):
    """A cell that is not what its column should hold; what helps is up to the reader of these data."""


@dataclass
class BadRows:
    """All bad rows of a data set.

    Attributes:
        wrong_column: What helps against a :class:`WrongColumn`.
        places: Cause -> the rows, and what each of them has.
        remedies: What helps, in the order of the causes.
    """

    wrong_column: str = ""
    places: dict[str, list[tuple[Place, str]]] = field(default_factory=lambda: defaultdict(list))
    remedies: dict[str, None] = field(default_factory=dict)

    def add(self, place: Place, bad: BadRow) -> None:
        """Note a row."""
        self.places[bad.cause].append((place, bad.value))
        do = self.wrong_column if isinstance(bad, WrongColumn) else bad.do
        if do:
            self.remedies[do] = None

    def __len__(self) -> int:
        return sum(len(found) for found in self.places.values())

    def causes(self) -> list[str]:
        """One line per cause, with its count and its first rows."""
        return [f"{len(found)} with {cause} ({named(found)})" for cause, found in self.places.items()]

    def facts(self) -> dict[str, dict[str, object]]:
        """Cause -> count and first rows, for manifests."""
        return {
            cause: {"rows": len(found), "first": [f"{p.split} row {p.number}" for p, _ in found[:SHOWN]]}
            for cause, found in self.places.items()
        }

    def refuse(self, rows: int, where: str) -> None:
        """Raise the error that names them all, if there are any.

        Raises:
            ConfigError: There is a bad row.
        """
        if self.places:
            raise ConfigError(
                f"{len(self)} of {rows} rows cannot be used: {'; '.join(self.causes())}",
                where=where,
                do=", ".join(["fix the data", *self.remedies, "or leave these rows out: --set task.on_bad_row=skip"]),
            )


def named(found: list[tuple[Place, str]]) -> str:
    """The first rows, as in ``train rows 1 (11.0), 7 and 3 more``."""
    by_split: dict[str, list[str]] = defaultdict(list)
    for place, value in found[:SHOWN]:
        by_split[place.split].append(f"{place.number} ({value})" if value else str(place.number))
    text = ", ".join(f"{split} row{'s' * (len(n) > 1)} {', '.join(n)}" for split, n in by_split.items())
    return text + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
