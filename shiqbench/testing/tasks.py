"""Checks the contract of a task in one call."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import Renderer
from shiqbench.planning.settings import sections
from shiqbench.plugin.algorithm import Need
from shiqbench.plugin.config import TaskConfig
from shiqbench.plugin.registry import registry
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import ExactTask, Task, TaskBase
from shiqbench.testing.component import check_config, check_light
from shiqbench.testing.contract import ContractReport
from shiqbench.testing.contract import TaskContract as Line
from shiqbench.testing.episodes import check_episodes
from shiqbench.testing.evaluations import check_evaluation, check_own_policy
from shiqbench.testing.generator import ODD_ANSWERS, ScriptedGenerator
from shiqbench.testing.tiny_model import make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shiqbench.plugin.config import EvalConfig
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.specs import TaskSpec

PRESETS = ("smoke", "cpu", "full")
ALGORITHM = "shiq"  # trains a task's own policy by default


def check_task(
    name: str,
    config: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    algorithm: str = ALGORITHM,
) -> ContractReport:
    """Check everything that a task promises, on its smoke preset; see docs/plugins.md for the list.

    Args:
        name: Registered name.
        config: Settings that differ from the preset, such as ``{"data": "a/folder"}``.
        plugins: Local plugin files, as ``--plugin`` takes them.
        algorithm: Algorithm that trains a task's own policy.

    Returns:
        The contract lines that hold, and those that do not apply, with the reason.

    Raises:
        AssertionError: A contract line does not hold; the message names the task, the line, and the numbers.
        PluginError: No task of that name is registered.
    """
    report, files = ContractReport("task", name), tuple(Path(p) for p in plugins)
    found = registry(files)
    spec = found.task(name)
    typed = {f"task.{key}": value for key, value in (config or {}).items()}
    check_light(report, Line.LIGHT, files)
    _check_presets(report, spec, found, typed)
    trainer = found.algorithm(algorithm if spec.own_policy else "base")
    section = sections(trainer, spec, "smoke", typed)
    settings = check_config(report, Line.CONFIG, spec.load_config(), section.values["task"], TaskConfig)
    make = _maker(report, spec, settings, found)
    report.attempt(Line.STATEMENTS, "fetch", make().fetch)
    _check_identity(report, spec, settings, make)
    if spec.own_policy:
        _skip(report, (*LANGUAGE_LINES, *EPISODE_LINES), "it brings its own policy")
        check_own_policy(report, make, trainer.load()(section.algo), section.train)
        return report
    _skip(report, (Line.RESUME, Line.OWN_POLICY), "it trains a language model")
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(Path(folder))
        renderer = Renderer(Path(folder))
        said: list[str] = []

        def ready() -> Task:
            """A task that knows a model, as in a run; if it samples that model, answers come from a list."""
            task: Task = make()
            model = StartModel(Path(folder), weights_sha256="the contract kit", opener=_scripted)
            report.attempt(Line.STATEMENTS, "use_model", lambda: task.use_model(model))
            return task

        if make().trainable:
            said = check_episodes(report, ready, renderer)
        else:
            _skip(report, EPISODE_LINES, "it is not trainable")
        check_evaluation(report, ready, section.evaluation, renderer, said)
    return report


@contextmanager
def _scripted(folder: Path, config: EvalConfig) -> Iterator[ScriptedGenerator]:
    yield ScriptedGenerator(Renderer(folder), ODD_ANSWERS)


EPISODE_LINES = (Line.EPISODES, Line.OFFERS, Line.REPEATABLE, Line.REWARDS, Line.SPLITS, Line.RENDERING)
LANGUAGE_LINES = (Line.PROGRESS, Line.SETTINGS, Line.CONTEXT, Line.SERVED)


def _skip(report: ContractReport, lines: Sequence[Line], why: str) -> None:
    for line in lines:
        report.skip(line, why)


def _maker(report: ContractReport, spec: TaskSpec, settings: Any, registered: Registry) -> Callable[[], Any]:
    kind, wanted = spec.load(), ExactTask if spec.own_policy else Task
    fits = isinstance(kind, type) and issubclass(kind, wanted)
    report.require(
        fits,
        Line.STATEMENTS,
        f"{spec.target} is not a subclass of {wanted.__name__}, but own_policy is {spec.own_policy}",
    )
    task: TaskBase = report.attempt(Line.STATEMENTS, "making it", lambda: kind(settings))
    unknown = sorted(task.offers - set(get_args(Need)))
    report.require(not unknown, Line.STATEMENTS, f"offers {unknown}")
    report.require(
        bool(spec.version and spec.summary and "\n" not in spec.summary),
        Line.STATEMENTS,
        "no version, or no summary of one line",
    )

    def make() -> TaskBase:
        task: TaskBase = kind(settings)
        report.attempt(Line.STATEMENTS, "use_registry", lambda: task.use_registry(registered))
        return task

    return make


def _check_presets(report: ContractReport, spec: TaskSpec, found: Registry, typed: dict[str, Any]) -> None:
    """Check every preset for every algorithm that it names."""
    missing = [p for p in PRESETS if p not in spec.presets]
    report.require(not missing, Line.PRESETS, f"no preset {', '.join(missing)}")
    for preset, values in spec.presets.items():
        special = {key.partition(":")[0] for key in values if ":" in key}
        strangers = sorted(special - set(found.algorithms))
        report.require(not strangers, Line.PRESETS, f"{preset} names the algorithms {', '.join(strangers)}")
        for name in sorted({"base", *special}):
            try:
                sections(found.algorithm(name), spec, preset, typed)
            except ConfigError as error:
                report.require(False, Line.PRESETS, f"{preset} for {name}: {error.line()}")
    fields = set(spec.load_config().model_fields)
    for which in ("setting_fields", "place_fields", "judging_fields"):
        strange = sorted(set(getattr(spec.load_config(), which)) - fields)
        report.require(not strange, Line.CONFIG, f"{which} names {', '.join(strange)}, which are not settings")


def _check_identity(report: ContractReport, spec: TaskSpec, settings: Any, make: Callable[[], TaskBase]) -> None:
    kind = spec.load()
    again = type(settings).model_validate(settings.model_dump(mode="json"))
    first, second = (
        report.attempt(Line.IDENTITY, "data_identity", lambda c=c: kind.data_identity(c))  # type: ignore[misc]
        for c in (settings, again)
    )
    text = isinstance(first, dict) and all(isinstance(x, str) for pair in first.items() for x in pair)
    report.require(text, Line.IDENTITY, f"data_identity {first!r}")
    report.require(first == second, Line.IDENTITY, f"data_identity {first!r}, then {second!r}")
    prompts = [report.attempt(Line.IDENTITY, "prompt_identity", make().prompt_identity) for _ in range(2)]
    report.require(isinstance(prompts[0], str), Line.IDENTITY, f"prompt_identity {prompts[0]!r}")
    report.require(prompts[0] == prompts[1], Line.IDENTITY, f"prompt_identity {prompts[0]!r}, then {prompts[1]!r}")
