"""Each field of a recipe by itself: a change of it changes the digest that it belongs to, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from support import TOY

from shiqbench.base.digest import digest
from shiqbench.engines.config import VllmConfig
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import CellPlan, ModelPlan, Request, RunPlan
from shiqbench.plugin.registry import Plugin

Change = Callable[[RunPlan], RunPlan]


@pytest.fixture(scope="module")
def plan(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    results = tmp_path_factory.mktemp("results")
    return make_plan(Request("shiq", "toy", str(tiny_model), preset="started", plugins=(TOY,), results=results))


def digests(plan: RunPlan) -> dict[str, str]:
    """Of the cell, of the model that is its base, and of how both are evaluated."""
    return {"cell": plan.cell.digest, "base": plan.base.digest, "evaluation": digest(plan.setting)}


def cells(change: Callable[[CellPlan], CellPlan]) -> Change:
    return lambda plan: replace(plan, cell=change(plan.cell), base=change(plan.base))


def cell(change: Callable[[CellPlan], CellPlan]) -> Change:
    return lambda plan: replace(plan, cell=change(plan.cell))


def played(**methods: Any) -> Change:
    """The task of a class of its own, which differs in these methods."""
    return lambda plan: replace(plan, task=type("Other", (type(plan.task),), methods)(plan.task.config))


def other_data(c: CellPlan) -> CellPlan:
    kind = type("Other", (c.task.load(),), {"data_identity": classmethod(lambda cls, config: {"words": "other"})})

    class Spec(type(c.task)):  # type: ignore[misc]
        def load(self) -> Any:
            return kind

    return replace(c, task=Spec(**{f: getattr(c.task, f) for f in (f.name for f in fields(c.task))}))


def engine(change: Callable[[ModelPlan], ModelPlan]) -> Change:
    return lambda plan: change(plan) if isinstance(plan, ModelPlan) else plan


def from_a_file(plan: ModelPlan) -> ModelPlan:
    owners = {**plan.found.owners, ("engine", plan.engine.name): Plugin("mine.py", "mine.py", "sha256:0")}
    return replace(plan, found=replace(plan.found, owners=owners))


def with_words(plan: RunPlan) -> RunPlan:
    return replace(plan, task=type(plan.task)(plan.task.config.model_copy(update={"words": 3})))


def settings(section: str, **values: Any) -> Callable[[CellPlan], CellPlan]:
    return lambda c: replace(c, **{section: getattr(c, section).model_copy(update=values)})


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "algorithm's version": (
        cell(lambda c: replace(c, algorithm=replace(c.algorithm, version="2"))),
        {"cell"},
    ),
    "hyper-parameter": (cell(settings("algo", beta=0.7)), {"cell"}),
    "task's version": (cells(lambda c: replace(c, task=replace(c.task, version="2"))), {"cell", "base", "evaluation"}),
    "field of the data": (cell(settings("task_config", good=False)), {"cell"}),
    "field of the setting": (cells(settings("task_config", words=3)), {"cell", "base"}),
    "field of the evaluated setting": (with_words, {"evaluation"}),
    "data": (cells(other_data), {"cell", "base"}),
    "learning rate": (cell(settings("train", lr=0.1)), {"cell"}),
    "how often it saves": (cell(settings("train", save_every=7)), set()),
    "seed": (cell(lambda c: replace(c, seed=5)), {"cell"}),
    "start's seed": (cell(lambda c: replace(c, start=replace(c.start, seed=5))), {"cell"}),  # type: ignore[type-var]
    "model": (
        cells(lambda c: replace(c, start=None, model=replace(c.model, identity={"sha256": "0"}))),
        {"cell", "base"},
    ),
    "plugin file": (cell(lambda c: replace(c, origins={**c.origins, "task": "sha256:0"})), {"cell"}),
    "preset": (cells(lambda c: replace(c, preset="other")), set()),
    "sampling": (lambda p: replace(p, evaluation=p.evaluation.model_copy(update={"seed": 5})), {"evaluation"}),
    "engine's distribution": (lambda p: replace(p, engine_version="engine 2"), {"evaluation"}),
    "engine's version": (engine(lambda p: replace(p, engine=replace(p.engine, version="2"))), {"evaluation"}),
    "engine's setting": (engine(lambda p: replace(p, engine_config=VllmConfig(max_num_seqs=8))), {"evaluation"}),
    "engine's setting that decides nothing": (
        engine(lambda p: replace(p, engine_config=VllmConfig(gpu_memory=0.5))),
        set(),
    ),
    "engine's plugin file": (engine(from_a_file), {"evaluation"}),
    "revision of the model": (cells(lambda c: replace(c, model=replace(c.model, revision="0123"))), set()),
    "name of the model": (cells(lambda c: replace(c, model=replace(c.model, text="x"))), set()),
    "place of the model": (cells(lambda c: replace(c, model=replace(c.model, place=Path("x")))), set()),
    "prompt": (played(prompt_identity=lambda self: "0"), {"evaluation"}),
    "scoring": (played(scoring_identity=lambda self: {"reward": "0"}), {"evaluation"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_field_belongs_to_its_digests_and_to_no_other(plan: RunPlan, name: str) -> None:
    change, belongs = CHANGES[name]
    before, after = digests(plan), digests(change(plan))
    assert {kind for kind in before if before[kind] != after[kind]} == belongs


def test_an_evaluation_is_of_its_weights_and_its_update(plan: RunPlan) -> None:
    folders = [plan.eval_folder(plan.cell), plan.eval_folder(plan.cell, 2), plan.eval_folder(plan.cell, 4)]
    assert len({f.name for f in [*folders, plan.eval_folder(plan.base)]}) == 4
    assert {f.parents[1] for f in folders} == {plan.cell.folder}
