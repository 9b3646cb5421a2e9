"""Digests of cells and evaluations stay what they were: a change of one here orphans every result that users have.

Where a digest has to change, raise ``SCHEMA`` and write the file again: ``python tests/planning/test_digests.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import pytest

from shiqbench.base.digest import digest
from shiqbench.matrices.plan import make_matrix
from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import CellPlan, Request, RunPlan
from shiqbench.plugin.registry import registry

KNOWN = Path(__file__).with_name("digests.json")
ROWS = [
    {"prompt": "Name a colour.", "chosen": "Red is a colour.", "rejected": "No."},
    {"prompt": "Name a fruit.", "chosen": "A pear is a fruit.", "rejected": "No."},
    {"prompt": "Name a river.", "chosen": "The Rhine is a river.", "rejected": "No."},
]
OF_UF = {"task.data": "pairs.jsonl"}
REQUESTS = {
    "mdp, defaults": Request("shiq", "mdp"),
    "mdp, smoke, settings": Request("dpo", "mdp", seed=2, preset="smoke", settings={"algo.beta": 0.3}),
    "mdp, transformer": Request("copg", "mdp", settings={"task.policy": "transformer"}),
    "bfcl_v3, the model": Request("base", "bfcl_v3"),
    "bfcl_v3, no start": Request("sft", "bfcl_v3", settings={"start": "none"}),
    "bfcl_v3, a start": Request("shiq", "bfcl_v3", seed=1),
    "bfcl_v3, settings": Request(
        "dpo", "bfcl_v3", repeats=2, settings={"algo.beta": 0.05, "task.behaviours": "perturbed", "train.lr": 1e-05}
    ),
    "bfcl_v3, full": Request("shiq", "bfcl_v3", preset="full", model=EMBEDDED_MODEL),
    "bfcl_v3, also lm_eval": Request("shiq", "bfcl_v3", preset="smoke", also=("lm_eval:arithmetic",)),
    "lm_eval": Request("base", "lm_eval", settings={"task.suites": "arithmetic"}),
    "ultrafeedback": Request("dpo", "ultrafeedback", settings=OF_UF),
    "ultrafeedback, a reward": Request(
        "shiq", "ultrafeedback", settings={**OF_UF, "task.reward_model": "bradley_terry"}
    ),
    "ultrafeedback, a curve": Request("sft", "ultrafeedback", settings=OF_UF, eval_every=10),
    "chat_mdp": Request("shiq", "chat_mdp"),
    "chat_mdp, a grid": Request("base", "chat_mdp", preset="smoke", settings={"task.mdp": "grid"}),
    "environment": Request("shiq", "environment", settings={"task.environment": "python game.py"}),
    "a plugin file": Request("plain", "mdp"),
}
GAME = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"name": "digits", "version": "1", "examples": ["a", "b", "c"]}), flush=True)
"""
PLUGIN = """
from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl


class Plain(Algorithm[AlgorithmConfig]):
    def loss(self, batch):
        return Loss(-batch.weight_U * batch.logp_EA.sum(-1), batch.weight_U)


@hookimpl
def shiqbench_register_algorithms():
    names = {"target": f"{__name__}:Plain", "config": f"{__name__}:AlgorithmConfig"}
    return [AlgorithmSpec(name="plain", version="1", summary="plain likelihood", **names)]
"""
MATRIX = """
[matrix]
algorithms = ["base", "sft", "shiq"]
tasks = ["mdp", "bfcl_v3"]
seeds = [0, 1]
preset = "smoke"
[start]
algorithm = "sft"
train.updates = 2
[algorithms.shiq.sweep]
"algo.beta" = [0.01, 0.1]
"""

P = TypeVar("P", bound=RunPlan)


def _versionless(plan: P) -> P:
    """Versions of engines are the environment's; whether they enter digests is tested elsewhere."""
    return replace(plan, engine_version="engine 1", also=tuple(_versionless(p) for p in plan.also))


def _cell(cell: CellPlan) -> str:
    """A plugin file is identified by its bytes, which hold the paths of its imports; engines as for evaluations."""
    recipe = {**cell.recipe, "plugins": dict.fromkeys(cell.recipe["plugins"], "sha256 of a file")}
    if "rollout_engine" in recipe["task"]["data"]:
        recipe["task"] = {**recipe["task"], "data": {**recipe["task"]["data"], "rollout_engine": "engine 1"}}
    return digest(recipe)


def _digests(plan: RunPlan) -> dict[str, str]:
    plan = _versionless(plan)
    found = {"cell": _cell(plan.cell), "base": _cell(plan.base)}
    if plan.cell.start is not None:
        found["start"] = _cell(plan.cell.start)
    for each in (plan, *plan.also):
        setting = each.setting
        if each.added is not None and "lm-eval" in setting["data"]:  # as for engines
            setting = {**setting, "data": {"lm-eval": "1"}, "prompt": ""}
        found[f"evaluation on {each.name}"] = digest(setting)
    if plan.curve is not None:
        points = [plan.curve.plan.eval_recipe(p.cell, p.snapshot) for p in plan.curve.points]
        found["curve"] = digest([{**p, "engine": "engine 1"} for p in points])
    return found


def computed() -> dict[str, dict[str, str]]:
    """The digests of every request, in a folder of its own."""
    fast = patch("shiqbench.plugin.config.bf16_is_slow", return_value=False)  # on any machine
    with fast, tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
        Path("plain.py").write_text(PLUGIN)
        Path("game.py").write_text(GAME)
        Path("matrix.toml").write_text(MATRIX)
        found = {}
        for name, request in REQUESTS.items():
            plugins = (Path("plain.py"),) if request.algo == "plain" else ()
            found[name] = _digests(make_plan(replace(request, plugins=plugins)))
        matrix = make_matrix(Path("matrix.toml")).final
        found["a matrix"] = {"cells": " ".join(sorted(c.folder.name for family in matrix.cells for c in family))}
        return found


def test_every_digest_is_what_it_was() -> None:
    known = json.loads(KNOWN.read_text())
    assert sum(len(d) for d in known.values()) > 30
    assert computed() == known


def test_the_version_of_shiqbench_enters_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with every commit; what changes results has a version of its own."""

    def version(self: Any) -> str:
        return "99.0.dev1+gabc" if self.name == "shiqbench" else self.metadata["Version"]

    # Packages such as setuptools may have brought a finder whose distributions are of another class.
    monkeypatch.setattr(type(importlib.metadata.distribution("shiqbench")), "version", property(version), raising=False)
    assert importlib.metadata.version("shiqbench") == "99.0.dev1+gabc"
    registry.cache_clear()
    assert computed() == json.loads(KNOWN.read_text())
    registry.cache_clear()


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(computed(), indent=1) + "\n")
