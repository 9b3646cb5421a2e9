"""Which settings of a recipe are not those of its algorithm and of a preset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import flatten
from shiqbench.base.errors import ShiqbenchError
from shiqbench.planning.settings import chosen_with, sections
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shiqbench.plugin.registry import Registry
    from shiqbench.store.index import Text

BUDGET = ("train.updates", "train.tokens")  # the budget is no hyper-parameter


class Defaults:
    """Compares recipes with the presets of their tasks; a recipe does not tell the preset that it comes from.

    Args:
        found: Registry; an algorithm or task that is not there has unknown defaults.
    """

    def __init__(self, found: Registry) -> None:
        self._found = found
        self._presets: dict[tuple[str, str], list[tuple[dict[str, Any], int | None]]] = {}
        self._nearest: dict[str, tuple[dict[str, Any] | None, int | None]] = {}

    def differing(self, recipe: Text) -> dict[str, Any] | None:
        """The settings of algorithm and training that differ from the nearest preset; None if it cannot be known."""
        return self._of(recipe)[0]

    def chosen_with(self, recipe: Text) -> int | None:
        """How many settings the values of the nearest preset were chosen from; None if it is not known."""
        return self._of(recipe)[1]

    def _of(self, recipe: Text) -> tuple[dict[str, Any] | None, int | None]:
        if recipe.key not in self._nearest:
            of, on = recipe.value["algorithm"], recipe.value["task"]
            at = of["name"], on["name"]
            if at not in self._presets:
                self._presets[at] = list(self._usual(of, on))
            mine = hyper_parameters({**recipe.value, "task": {"config": {}}})
            found = [
                ({k: v for k, v in mine.items() if k not in BUDGET and (k not in usual or usual[k] != v)}, trials)
                for usual, trials in self._presets[at]
            ]
            self._nearest[recipe.key] = min(found, key=lambda f: len(f[0]), default=(None, None))
        return self._nearest[recipe.key]

    def _usual(self, of: Mapping[str, Any], on: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int | None]]:
        """The usual settings of an algorithm on a task, and how many were tried: per preset, of a cell and a start."""
        try:
            algorithm, task = self._found.algorithm(of["name"]), self._found.task(on["name"])
            if (algorithm.version, task.version) != (of["version"], on["version"]):
                return  # other versions have other defaults
            for preset in task.presets:
                made = sections(algorithm, task, preset, {})
                pairs = [(made.algo, made.train, algorithm.name)]
                if made.start.algorithm == algorithm.name:
                    config = validate(algorithm.load_config(), made.start.algo, "start.algo")
                    pairs.append((config, validate(TrainConfig, made.start.train, "start.train"), "start"))
                for algo, train, name in pairs:
                    usual = {"algo": algo.model_dump(mode="json"), "train": train.model_dump(mode="json")}
                    yield flatten(usual), chosen_with(task, preset, name)
        except ShiqbenchError:  # it is not installed here
            return


def hyper_parameters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that tuning may choose, by their full names, such as ``train.lr``."""
    parts = {"algo": recipe["algorithm"]["config"], "train": recipe["train"], "task": recipe["task"]["config"]}
    return flatten({name: part for name, part in parts.items() if part})
