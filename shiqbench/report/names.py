"""One label for a recipe through all tables of a report."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from shiqbench.base.digest import short
from shiqbench.store.labels import labels

if TYPE_CHECKING:
    from shiqbench.store.index import Index, Text


class Name(NamedTuple):
    """What a recipe is called.

    Attributes:
        label: The settings in which recipes of its algorithm differ, and whether others start from it.
        is_start: Whether others start from it.
    """

    label: str
    is_start: bool


def names_of(index: Index) -> dict[str, Name]:
    """Name every evaluated recipe, by its key.

    Recipes are told apart within the task that they train on; if a setting evaluates those of several tasks, the task
    is part of the label.
    """
    every = list(index.evaluations.values())
    started_from = {short(e.cell.recipe.value["model"].get("cell", "")) for e in every}
    is_start = {e.cell.recipe.key: e.cell.folder.rpartition("/")[2] in started_from for e in every}
    tasks_of: dict[str, set[str]] = defaultdict(set)
    groups: dict[tuple[str, bool], dict[str, Text]] = defaultdict(dict)
    for e in every:
        recipe = e.cell.recipe
        task = recipe.value["task"]["name"]
        tasks_of[e.setting.key].add(task)
        groups[task, is_start[recipe.key]][recipe.key] = recipe
    mixed = any(len(tasks) > 1 for tasks in tasks_of.values())
    found = {}
    for (task, start), recipes in groups.items():
        for key, label in zip(recipes, labels([r.value for r in recipes.values()]), strict=True):
            words = [f"on {task}"] * mixed + ["the start"] * start + [label] * bool(label)
            found[key] = Name(" ".join(words), start)
    return found
