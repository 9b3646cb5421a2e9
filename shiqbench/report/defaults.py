"""Which settings of a recipe are not those of its algorithm and of a preset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ShiqbenchError
from shiqbench.planning.settings import sections
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.validation import validate
from shiqbench.store.labels import flatten

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
        self._presets: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._differing: dict[str, dict[str, Any] | None] = {}

    def differing(self, recipe: Text) -> dict[str, Any] | None:
        """The settings of algorithm and training that differ from the nearest preset; None if it cannot be known."""
        if recipe.key not in self._differing:
            of, on = recipe.value["algorithm"], recipe.value["task"]
            at = of["name"], on["name"]
            if at not in self._presets:
                self._presets[at] = list(self._usual(of, on))
            mine = hyper_parameters({**recipe.value, "task": {"config": {}}})
            found = [
                {k: v for k, v in mine.items() if k not in BUDGET and (k not in usual or usual[k] != v)}
                for usual in self._presets[at]
            ]
            self._differing[recipe.key] = min(found, key=len, default=None)
        return self._differing[recipe.key]

    def _usual(self, of: Mapping[str, Any], on: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The usual settings of an algorithm on a task: for each preset, those of a cell and those of a start."""
        try:
            algorithm, task = self._found.algorithm(of["name"]), self._found.task(on["name"])
            if (algorithm.version, task.version) != (of["version"], on["version"]):
                return  # other versions have other defaults
            for preset in task.presets:
                made = sections(algorithm, task, preset, {})
                pairs = [(made.algo, made.train)]
                if made.start.algorithm == algorithm.name:
                    config = validate(algorithm.load_config(), made.start.algo, "start.algo")
                    pairs.append((config, validate(TrainConfig, made.start.train, "start.train")))
                for algo, train in pairs:
                    yield flatten({"algo": algo.model_dump(mode="json"), "train": train.model_dump(mode="json")})
        except ShiqbenchError:  # it is not installed here
            return


def hyper_parameters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that tuning may choose, by their full names, such as ``train.lr``."""
    parts = {"algo": recipe["algorithm"]["config"], "train": recipe["train"], "task": recipe["task"]["config"]}
    return flatten({name: part for name, part in parts.items() if part})
