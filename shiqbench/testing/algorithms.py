"""Checks the contract of an algorithm in one call."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from shiqbench.plugin.algorithm import Algorithm, Need, Unit
from shiqbench.plugin.config import AlgorithmConfig
from shiqbench.plugin.registry import registry
from shiqbench.testing.component import check_config, check_light
from shiqbench.testing.contract import AlgorithmContract as Line
from shiqbench.testing.contract import ContractReport
from shiqbench.testing.losses import check_loss
from shiqbench.testing.optimum import check_optimum
from shiqbench.testing.training import check_training
from shiqbench.testing.words import WordsConfig, WordsTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.plugin.specs import AlgorithmSpec


def check_algorithm(
    name: str, config: Mapping[str, Any] | None = None, plugins: Sequence[str | Path] = ()
) -> ContractReport:
    """Check everything that an algorithm promises; see docs/plugins.md for the list.

    Args:
        name: Registered name.
        config: Settings that differ from the defaults, such as ``{"beta": 0.5}``.
        plugins: Local plugin files, as ``--plugin`` takes them.

    Returns:
        The contract lines that hold, and those that do not apply, with the reason.

    Raises:
        AssertionError: A contract line does not hold; the message names the algorithm, the line, and the numbers.
        PluginError: No algorithm of that name is registered.
    """
    report, files, values = ContractReport("algorithm", name), tuple(Path(p) for p in plugins), dict(config or {})
    spec = registry(files).algorithm(name)
    check_light(report, Line.LIGHT, files)
    settings = check_config(report, Line.CONFIG, spec.load_config(), values, AlgorithmConfig)
    algorithm = _make(report, spec, settings)
    _check_statements(report, spec, algorithm)
    _check_select(report, algorithm)
    if not spec.trains:
        for line in Line:
            if str(line) not in report.held:
                report.skip(line, "it trains nothing")
        return report
    check_loss(report, algorithm, lambda: _make(report, spec, settings))
    check_training(report, values, files)
    check_optimum(report, spec, settings)
    return report


def _make(report: ContractReport, spec: AlgorithmSpec, settings: Any) -> Algorithm[AlgorithmConfig]:
    kind = report.attempt(Line.STATEMENTS, f"loading {spec.target}", spec.load)
    found = isinstance(kind, type) and issubclass(kind, Algorithm)
    report.require(found, Line.STATEMENTS, f"{spec.target} is not an Algorithm")
    made: Algorithm[AlgorithmConfig] = report.attempt(Line.STATEMENTS, "making it", lambda: kind(settings))
    return made


def _check_statements(report: ContractReport, spec: AlgorithmSpec, algorithm: Algorithm[AlgorithmConfig]) -> None:
    """Check unit, needs and numbers before anything is computed."""

    def require(holds: bool, found: str) -> None:
        report.require(holds, Line.STATEMENTS, found)

    unit, size, needs = algorithm.unit, algorithm.group_size, algorithm.needs
    require(bool(spec.version and spec.summary and "\n" not in spec.summary), "no version, or no summary of one line")
    require(unit in get_args(Unit), f"unit {unit!r}")
    wanted = {"episode": size == 1, "pair": size == 2, "group": size >= 2}[unit]
    require(wanted, f"group_size {size} for unit {unit}")
    unknown = sorted(needs - set(get_args(Need)))
    require(not unknown, f"needs {unknown}")
    claim, value = algorithm.temperature, algorithm.loss_at_reference
    require(claim is None or (math.isfinite(claim) and claim > 0), f"temperature {claim}")
    require(value is None or math.isfinite(value), f"loss_at_reference {value}")
    for statement in ("sampling_q_weight", "target_rate"):
        number = getattr(algorithm, statement)
        require(math.isfinite(number), f"{statement} {number}")
        require(number == 0 or "token_q" in needs, f"{statement} {number} without the need token_q")
    require(0 <= algorithm.target_rate <= 1, f"target_rate {algorithm.target_rate}")
    if not spec.trains:
        require(claim is None and value is None and not needs, "it states claims or needs, but it trains nothing")


def _check_select(report: ContractReport, algorithm: Algorithm[AlgorithmConfig]) -> None:
    offered = WordsTask(WordsConfig()).episodes("train")
    known = {e.id for e in offered}
    first, second = algorithm.select(offered), algorithm.select(offered)
    report.require(bool(first), Line.SELECT, f"it selects none of {len(offered)} episodes")
    strangers = [e.id for e in first if e.id not in known]
    report.require(not strangers, Line.SELECT, f"{strangers[:3]}, which were not offered")
    report.require(first == second, Line.SELECT, f"{len(first)} episodes, then {len(second)}")
