"""Lookups for ``list``, ``show`` and ``fetch``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.plugin.config import StartConfig, TrainConfig
from shiqbench.plugin.registry import Registry, registry

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from shiqbench.plugin.specs import Spec, TaskSpec

KINDS = ("algorithms", "tasks", "engines", "rewards", "plugins")
OTHERS = "a task's presets set other values, and exact tasks have train settings of their own: shiqbench show TASK"


def listing(kind: str | None, files: tuple[Path, ...]) -> dict[str, list[dict[str, Any]]]:
    """Return names, versions and summaries by kind.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"cannot list {kind!r}{did_you_mean(kind, KINDS)}", where="list", do=f"one of {', '.join(KINDS)}"
        )
    found = registry(files)
    specs: dict[str, Any] = {
        "algorithms": found.algorithms,
        "tasks": found.tasks,
        "engines": found.engines,
        "rewards": found.rewards,
    }
    everything = {
        name: [_entry(found, name[:-1], spec) for _, spec in sorted(table.items())] for name, table in specs.items()
    }
    everything["plugins"] = [
        {"name": p.name, "distribution": p.distribution, "version": p.version} for p in found.plugins
    ] + [{"name": f.name, "distribution": f.distribution, "error": f.error} for f in found.failures]
    if found.clashes:
        everything["clashes"] = [{"clash": text} for text in found.clashes.values()]
    if kind is None:
        return everything
    return {k: v for k, v in everything.items() if k in (kind, "clashes")}


def _entry(found: Registry, kind: str, spec: Spec) -> dict[str, Any]:
    owner = found.owners[kind, spec.name].distribution
    return {"name": spec.name, "version": spec.version, "summary": spec.summary, "from": owner}


def show_anything(name: str, results: Path, files: tuple[Path, ...]) -> dict[str, Any]:
    """Return a component's settings, or a cell's configuration and results.

    Raises:
        ConfigError: No component or cell has that name.
    """
    found = registry(files)
    if name in found.algorithms:
        spec = found.algorithm(name)
        trains = {"train": fields(TrainConfig), "start": fields(StartConfig), "presets": OTHERS} if spec.trains else {}
        return {**_entry(found, "algorithm", spec), "algo": fields(spec.load_config()), **trains}
    if name in found.tasks:
        task = found.task(name)
        train, evaluation = task.load_sections()
        return {
            **_entry(found, "task", task),
            "task": fields(task.load_config()),
            "train": fields(train),
            "eval": fields(evaluation),
            "presets": {k: dict(v) for k, v in task.presets.items()},
            **_data_hint(task),
        }
    if name in found.engines:
        engine = found.engine(name)
        return {
            **_entry(found, "engine", engine),
            "engine": fields(engine.load_config()),
            "install": engine.install,
        }
    if name in found.rewards:
        reward = found.reward(name)
        return {**_entry(found, "reward", reward), "task.reward": fields(reward.load_config())}
    return _show_cell(name, results, [*found.algorithms, *found.tasks, *found.engines, *found.rewards])


def _data_hint(task: TaskSpec) -> dict[str, str]:
    """The command that shows a task's episodes. Presets tell whether it trains: importing its class may be slow."""
    trains = any(key.startswith("train.") for preset in task.presets.values() for key in preset)
    if task.own_policy or not trains:
        return {}
    return {"training episodes": f"shiqbench show {task.name} --data"}


def _show_cell(name: str, results: Path, known: list[str]) -> dict[str, Any]:
    from shiqbench.base.files import read_json
    from shiqbench.store.cell import find_cell

    try:
        folder = find_cell(name.removeprefix("cell:"), results)
    except ConfigError as error:
        raise ConfigError(
            f"no component is called {name!r}{did_you_mean(name, known)}; {error.what}",
            where="show",
            do="see `shiqbench list`, or give a cell's folder or digest",
        ) from error
    evaluations = sorted((folder / "eval").glob("*/metrics.json"))
    return {
        "cell": str(folder),
        "config": read_json(folder / "config.json"),
        "evaluations": {f.parent.name: read_json(f) for f in evaluations},
    }


@dataclass(frozen=True)
class Setting:
    """One setting of a section; as text it is ``type = default  (meaning)``."""

    kind: str
    default: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.kind} = {self.default}" + (f"  ({self.meaning})" if self.meaning else "")


def fields(kind: type[BaseModel]) -> dict[str, Setting]:
    """Describe each setting of a section."""
    described = {}
    for name, field in kind.model_fields.items():
        annotation = str(field.annotation).replace("typing.", "")
        annotation = getattr(field.annotation, "__name__", annotation) if "[" not in annotation else annotation
        default = repr(field.get_default(call_default_factory=True))
        described[name] = Setting(annotation, default, field.description or "")
    return described


def fetch_asset(name: str, files: tuple[Path, ...]) -> str:
    """Fetch a task's data or the embedded model.

    Returns:
        One line that names what is in the cache.

    Raises:
        ConfigError: The name is neither a task nor the embedded model.
    """
    if name == EMBEDDED_MODEL:
        from shiqbench.models.embedded import embedded_model

        return f"{name}: {embedded_model()}"
    found = registry(files)
    if name not in found.tasks:
        known = [EMBEDDED_MODEL, *found.tasks]
        raise ConfigError(
            f"cannot fetch {name!r}{did_you_mean(name, known)}",
            where="fetch",
            do=f"one of {', '.join(known)}",
        )
    spec = found.task(name)
    spec.load()(spec.load_config()()).fetch()
    return f"{name}: data is in the cache"
