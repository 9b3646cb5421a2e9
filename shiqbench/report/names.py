"""One label for a recipe through all tables of a report."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from shiqbench.base.digest import short
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from shiqbench.store.index import Index, Text


class Name(NamedTuple):
    """What a recipe is called.

    Attributes:
        label: The settings in which recipes of its algorithm differ, and whether others start from it.
        is_start: Whether others start from it.
    """

    label: str
    is_start: bool


def is_named(text: str, algorithm: str, label: str) -> bool:
    """Whether a text names a row: its algorithm, then words of its label."""
    name, *words = text.split() or [""]
    return algorithm == name and set(words) <= set(label.split())


def with_label(algorithm: str, label: str) -> str:
    """What a row is called: its algorithm and its label, if it has one."""
    return f"{algorithm} {label}".strip()


def names_of(index: Index) -> dict[str, Name]:
    """Name every evaluated recipe, by its key.

    Recipes are told apart within the task that they train on; if a setting evaluates those of several tasks, the task
    is part of the label. What a table's own setting tells of the task is not.
    """
    every = list(index.evaluations.values())
    started_from = {short(e.cell.recipe.value["model"].get("cell", "")) for e in every}
    is_start = {e.cell.recipe.key: e.cell.folder.rpartition("/")[2] in started_from for e in every}
    tasks_of: dict[str, set[str]] = defaultdict(set)
    settings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    groups: dict[tuple[str, bool], dict[str, Text]] = defaultdict(dict)
    for e in every:
        recipe = e.cell.recipe
        task = recipe.value["task"]["name"]
        tasks_of[e.setting.key].add(task)
        settings[recipe.key].append(e.setting.value)
        groups[task, is_start[recipe.key]][recipe.key] = recipe
    mixed = any(len(tasks) > 1 for tasks in tasks_of.values())
    found = {}
    for (task, start), recipes in groups.items():
        told = _told(recipes, settings)
        shown = [_without(r.value, told) for r in recipes.values()]
        for key, label in zip(recipes, labels(shown), strict=True):
            words = [f"on {task}"] * mixed + ["the start"] * start + [label] * bool(label)
            found[key] = Name(" ".join(words), start)
    return found


def _told(recipes: Mapping[str, Text], settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    """The task's settings that every table of these recipes tells; a table of another task tells nothing of it."""
    found: dict[str, bool] = {}
    for key, recipe in recipes.items():
        task = recipe.value["task"]
        for name, value in task["config"].items():
            told = all(s["task"] == task["name"] and (s.get("setting") or {}).get(name) == value for s in settings[key])
            found[name] = found.get(name, True) and told
    return {name for name, told in found.items() if told}


def _without(recipe: dict[str, Any], told: Collection[str]) -> dict[str, Any]:
    task = recipe["task"]
    return {**recipe, "task": {**task, "config": {k: v for k, v in task["config"].items() if k not in told}}}
