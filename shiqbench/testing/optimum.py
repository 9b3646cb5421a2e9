"""Checks the optimum that an algorithm claims, on MDPs that can be solved exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from shiqbench.planning.settings import sections
from shiqbench.plugin.registry import registry
from shiqbench.testing.contract import AlgorithmContract as Line
from shiqbench.training.given_model import train_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig
    from shiqbench.plugin.specs import AlgorithmSpec
    from shiqbench.plugin.task import ExactTask
    from shiqbench.testing.contract import ContractReport

EXACT_TASK = "mdp"
INSTANCES = 2  # instances of the task; each is a separate problem
MOST_REGRET = 1e-3  # relative to the reference's regret


def check_optimum(report: ContractReport, spec: AlgorithmSpec, config: Any) -> None:
    """Train on the exact task with its defaults and measure the remaining regret.

    Args:
        report: Report of the algorithm.
        spec: Spec of the algorithm.
        config: Configuration of the algorithm; if a setting decides the temperature, it is changed so that the
            temperature is the task's beta.
    """
    claimed = spec.load()(config).temperature
    if claimed is None:
        report.skip(Line.OPTIMUM, "it claims no optimum")
        return
    task = registry().task(EXACT_TASK)
    beta = task.load_config()().beta
    algorithm = next(_with_temperature(spec, config, beta), None)
    if algorithm is None:
        algorithm, beta = spec.load()(config), claimed
    typed = {"task.beta": beta, "task.seeds": INSTANCES}
    if "gamma" in type(config).model_fields:
        typed["task.gamma"] = config.gamma  # the claim is about the discounted objective
    section = sections(spec, task, "cpu", typed)
    exact: ExactTask = task.load()(section.task)
    missing = sorted(algorithm.needs - exact.provides())
    if missing:
        report.skip(Line.OPTIMUM, f"it needs {', '.join(missing)}, which the exact task does not offer")
        return
    report.attempt(Line.OPTIMUM, f"the check by {EXACT_TASK}", lambda: exact.check(algorithm))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report.attempt(
            Line.OPTIMUM,
            f"training on {EXACT_TASK}",
            lambda: exact.train(algorithm, section.train, 0, folder, lambda *_: None, train_model),
        )
        records = exact.evaluate_weights(folder / "checkpoint")
    regret = exact.metrics(records).metrics["relative_regret"]
    text = f"relative regret {regret:.3g} at temperature {beta:g}, at most {MOST_REGRET:g} allowed"
    report.require(regret < MOST_REGRET, Line.OPTIMUM, text)


def _with_temperature(spec: AlgorithmSpec, config: Any, beta: float) -> Iterator[Algorithm[AlgorithmConfig]]:
    """The algorithm, unchanged or with one setting at ``beta`` or its inverse, if it claims temperature ``beta``."""
    values = config.model_dump()
    names = [name for name, value in values.items() if isinstance(value, float)]
    for changes in ({}, *({name: x} for name in names for x in (beta, 1 / beta))):
        try:
            algorithm: Algorithm[AlgorithmConfig] = spec.load()(type(config).model_validate({**values, **changes}))
        except ValidationError:
            continue
        if algorithm.temperature == beta:
            yield algorithm
