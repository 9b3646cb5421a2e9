"""``--model cell:DIGEST``: uses a finished cell as a start, or its weights as the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.models.sources import ModelSource, cell_model, find_model, template_of
from shiqbench.planning.plan import CellPlan
from shiqbench.plugin.registry import registry
from shiqbench.plugin.validation import validate
from shiqbench.store.cell import find_cell

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.planning.plan import Request
    from shiqbench.plugin.specs import AlgorithmSpec


def model_and_start(
    request: Request, preset_model: str, algorithm: AlgorithmSpec, template: dict[str, Any]
) -> tuple[ModelSource, CellPlan | None]:
    """Return the model, and the finished cell if training starts from one.

    For an algorithm that trains nothing, the cell's weights are the model.

    Raises:
        ConfigError: The model or cell does not exist, the cell contains no trained language model, or keywords of the
            chat template are given for a cell.
    """
    text = request.model or preset_model
    if not text.startswith("cell:"):
        return find_model(text).with_template(template), None
    if template:
        raise ConfigError(
            "model.template cannot be honoured: a cell keeps the keywords that it was trained with",
            where="--set",
            do="leave it out",
        )
    folder = find_cell(text.removeprefix("cell:"), request.results)
    recipe = read_json(folder / "config.json")
    if recipe["train"] is None:
        raise ConfigError("that cell trained nothing", where="--model", do="give the model itself")
    if "own_policy" in recipe["model"]:
        raise ConfigError(
            f"that cell contains no language model but the own policy of {recipe['task']['name']}",
            where="--model",
            do="give a cell of another task",
        )
    if not algorithm.trains:
        return cell_model(folder), None
    model = find_model(read_json(folder / "manifest.json")["model"]).with_template(template_of(folder))
    if "cell" not in recipe["model"] and model.identity != recipe["model"]:
        raise ConfigError(
            "the model that this cell started from has changed",
            where=f"{folder}, model {model.text}",
            do="put it back, or give the new model itself",
        )
    return model, stored_cell(folder, request)


def stored_cell(folder: Path, request: Request) -> CellPlan:
    """Rebuild a finished cell's plan from its recipe.

    Raises:
        ConfigError: The cell was made by another version of its algorithm or task.
    """
    recipe, manifest = read_json(folder / "config.json"), read_json(folder / "manifest.json")
    found = registry(request.plugins)
    algorithm, task = found.algorithm(recipe["algorithm"]["name"]), found.task(recipe["task"]["name"])
    model = ModelSource(manifest["model"], recipe["model"], None, template=template_of(folder))
    plan = CellPlan(
        algorithm=algorithm,
        algo=validate(algorithm.load_config(), recipe["algorithm"]["config"], "algo"),
        task=task,
        task_config=validate(task.load_config(), {**recipe["task"]["config"], **manifest.get("places", {})}, "task"),
        train=validate(task.load_sections()[0], recipe["train"], "train"),
        seed=recipe["seed"],
        model=model,
        start=None,
        preset=request.preset,
        origins=recipe["plugins"],
        results=folder.parents[2],
        data=recipe["task"]["data"],
    )
    if plan.digest != digest(recipe):
        raise ConfigError(
            "that cell was made by another version of its algorithm or task",
            where=str(folder),
            do="run it again",
        )
    return plan
