"""Export of a cell's weights as a folder that transformers and vllm load, with a model card that names their origin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from shiqbench.base.digest import flatten
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, replacing_folder, write_json, write_text
from shiqbench.store.cell import CHECKPOINT, DONE, check_not_cleaned, is_done, verified

WEIGHTS = f"{CHECKPOINT}/"
RECIPE = "shiqbench.json"


def export_model(cell: Path, target: Path, name: str | None) -> None:
    """Copy the final weights, and check each file against DONE. Adapters are already merged into them.

    Args:
        cell: Folder of a finished cell.
        target: New folder to write.
        name: Name of the model in its card; if left out, algorithm, task and digest.

    Raises:
        ConfigError: The cell has no language-model weights, or they were removed by ``clean``.
        CorruptCellError: A file differs from what was written.
    """
    recipe = read_json(cell / "config.json")
    if recipe["train"] is None:
        raise ConfigError(
            f"{recipe['algorithm']['name']} trained nothing",
            where=str(cell),
            do="export the model itself, or another cell",
        )
    check_not_cleaned(cell)
    files = [f for f in read_json(cell / DONE)["files"] if f.startswith(WEIGHTS)]
    if WEIGHTS + "config.json" not in files:
        raise ConfigError(
            f"the policy of {recipe['task']['name']} is not a language model",
            where=str(cell),
            do="export another cell",
        )
    with replacing_folder(target) as folder:
        for file in files:
            verified(cell, file)
            copy = folder / file.removeprefix(WEIGHTS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cell / file, copy)
        write_json(folder / RECIPE, recipe)
        write_text(folder / "README.md", card(cell, recipe, name))


def card(cell: Path, recipe: dict[str, Any], name: str | None) -> str:
    """Return the model card: a summary for readers; the complete recipe is in shiqbench.json."""
    manifest = read_json(cell / "manifest.json")
    algorithm, task = recipe["algorithm"], recipe["task"]
    # What a path names is on this machine only.
    text = Path(manifest["model"])
    model = text.name if text.is_absolute() or text.is_dir() else manifest["model"]
    front = {
        "base_model": model,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["shiqbench", algorithm["name"], task["name"]],
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    title = name or "-".join((algorithm["name"], task["name"], cell.name))
    start = f", from the start `{manifest['start']}`" if manifest.get("start") else ""
    made = f"trained by `{algorithm['name']}` on `{task['name']}`, seed {recipe['seed']}{start}"
    lines += [
        f"# {title}",
        "",
        f"Cell `{cell.name}` of shiqbench {manifest['shiqbench']}: {model}, {made}.",
    ]
    budget = manifest["budget"]
    lines += ["", f"Budget: {budget['updates']} updates, {budget['tokens']} tokens, {budget['episodes']} episodes.", ""]
    lines += ["| setting | value |", "|---|---|"]
    shown = {"algo": algorithm["config"], "train": recipe["train"], "data": task["data"]}
    lines += [f"| {key} | {value} |" for key, value in flatten(shown).items()]
    lines += ["", "| evaluated on | engine | metric | value [95 %] |", "|---|---|---|---|"]
    lines += _evaluations(cell)
    return "\n".join([*lines, "", f"The complete recipe is in `{RECIPE}`."]) + "\n"


def _evaluations(cell: Path) -> list[str]:
    """Return one row for each finished evaluation of the final weights; evaluations of snapshots are left out."""
    rows = []
    for folder in sorted((cell / "eval").glob("*")):
        if not is_done(folder):
            continue
        recipe = read_json(folder / "config.json")
        if "update" in recipe or "best" in recipe:
            continue
        primary = read_json(folder / "metrics.json")["primary"]
        reduced = ", REDUCED" if read_json(folder / "manifest.json")["reduced"] else ""
        ends = [primary["low"], primary["high"]]
        value = f"{primary['value']:.4g}" + ("" if None in ends else " [{:.4g}, {:.4g}]".format(*ends))
        where = f"{recipe['task']} ({recipe['eval']['split']}{reduced})"
        rows.append(f"| {where} | {recipe['engine']} | {primary['name']} | {value} |")
    return rows or ["| not evaluated | - | - | - |"]
