"""What ``list`` and ``show`` print on a terminal: aligned tables, whose long texts are broken into lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shiqbench.commands.listing import Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def print_list(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print one table for each kind of component."""
    console = Console()
    for kind, entries in found.items():
        headings = list(dict.fromkeys(key for entry in entries for key in entry))
        rows = ([str(entry.get(key, "")) for key in headings] for entry in entries)
        console.print(aligned(kind, headings, rows), "")


def print_facts(found: Mapping[str, Any]) -> None:
    """Print a component with its settings, or a cell with its results."""
    console = Console()
    facts = {key: value for key, value in found.items() if not _is_section(value)}
    console.print(aligned("", (), ([key, str(value)] for key, value in facts.items())), "")
    for name, value in found.items():
        if _is_section(value):
            console.print(_section(name, value), "")


def aligned(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table without lines; without headings, its first column names what the second holds."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.show_header = bool(headings)
    for heading in headings or ("", ""):
        table.add_column(heading, overflow="fold", header_style="dim", no_wrap=not table.columns)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _section(name: str, values: Mapping[str, Any]) -> Table:
    """Settings get a column for each part; equal groups of facts, such as presets, get a column for each group."""
    if all(isinstance(value, Setting) for value in values.values()):
        rows = ([f"{name}.{key}", s.default, s.kind, s.meaning] for key, s in values.items())
        return aligned(name, ("setting", "default", "type", "meaning"), rows)
    if all(isinstance(value, Mapping) for value in values.values()):
        groups = {group: dict(_flat(value)) for group, value in values.items()}
        keys = dict.fromkeys(key for group in groups.values() for key in group)
        return aligned(name, ("", *groups), ([key, *(g.get(key, "") for g in groups.values())] for key in keys))
    return aligned(name, (), ([key, value] for key, value in _flat(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if _is_section(value):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
