"""The registry: plugins in, specs out. A plugin that fails to load is reported; the others still load."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from shiqbench.base.errors import PluginError
from shiqbench.base.suggest import did_you_mean
from shiqbench.plugin import specs
from shiqbench.plugin.finding import reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

S = TypeVar("S", bound=specs.Spec)
SPEC_TYPES: dict[str, type[specs.Spec]] = {
    "algorithm": specs.AlgorithmSpec,
    "task": specs.TaskSpec,
    "engine": specs.EngineSpec,
    "reward": specs.RewardSpec,
}


@dataclass(frozen=True)
class Plugin:
    """One loaded plugin: an entry point of a distribution, or a file."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True)
class PluginFailure:
    """One plugin that did not load, with the reason."""

    name: str
    distribution: str
    error: str


@dataclass
class Registry:
    """Everything that plugins registered.

    Attributes:
        algorithms: Algorithm specs by name.
        tasks: Task specs by name.
        engines: Engine specs by name.
        rewards: Reward model specs by name.
        owners: ``(kind, name)`` -> the plugin that registered it.
        plugins: Plugins that loaded.
        failures: Plugins that did not load, with their errors.
        clashes: One line per name that two plugins claim; such a name is refused when it is used.
    """

    algorithms: dict[str, specs.AlgorithmSpec] = field(default_factory=dict)
    tasks: dict[str, specs.TaskSpec] = field(default_factory=dict)
    engines: dict[str, specs.EngineSpec] = field(default_factory=dict)
    rewards: dict[str, specs.RewardSpec] = field(default_factory=dict)
    owners: dict[tuple[str, str], Plugin] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)
    clashes: dict[tuple[str, str], str] = field(default_factory=dict)

    def algorithm(self, name: str) -> specs.AlgorithmSpec:
        """Return the spec of the algorithm with this name.

        Raises:
            PluginError: The name is unknown (the error suggests the nearest one), or two plugins claim it.
        """
        return self._find("algorithm", self.algorithms, name)

    def task(self, name: str) -> specs.TaskSpec:
        """Return the spec of the task with this name; errors as in :meth:`algorithm`."""
        return self._find("task", self.tasks, name)

    def engine(self, name: str) -> specs.EngineSpec:
        """Return the spec of the engine with this name; errors as in :meth:`algorithm`."""
        return self._find("engine", self.engines, name)

    def reward(self, name: str) -> specs.RewardSpec:
        """Return the spec of the reward model with this name; errors as in :meth:`algorithm`."""
        return self._find("reward", self.rewards, name, where="task.reward_model")

    def origin(self, kind: str, name: str) -> str | None:
        """The sha256 of the plugin file that a component came from; None if a distribution registered it."""
        version = self.owners[kind, name].version
        return version if version.startswith("sha256:") else None

    def _find(self, kind: str, known: Mapping[str, S], name: str, where: str = "") -> S:
        if (kind, name) in self.clashes:
            raise PluginError(
                self.clashes[kind, name], where=where or f"--{kind}", do="rename or uninstall one of them"
            )
        if name in known:
            return known[name]
        failed = "".join(f"; plugin {f.name} did not load: {f.error}" for f in self.failures)
        raise PluginError(
            f"unknown {kind} {name!r}{did_you_mean(name, known)}{failed}",
            where=f"known: {', '.join(sorted(known)) or 'none'}",
            do=f"see `shiqbench list {kind}s`",
        )

    def add(self, plugin: Plugin, kind: str, offered: Iterable[Any]) -> None:
        """Add a plugin's specs of one kind, and record names that two plugins claim."""
        tables: dict[str, dict[str, Any]] = {
            "algorithm": self.algorithms,
            "task": self.tasks,
            "engine": self.engines,
            "reward": self.rewards,
        }
        for spec in offered:
            if not isinstance(spec, SPEC_TYPES[kind]):
                raise TypeError(f"shiqbench_register_{kind}s returned {spec!r}, not {SPEC_TYPES[kind].__name__}")
            owner = self.owners.setdefault((kind, spec.name), plugin)
            if owner is not plugin:
                both = " and ".join(f"{p.name} ({p.distribution})" for p in (owner, plugin))
                self.clashes[kind, spec.name] = f"{kind} {spec.name!r} is registered by both {both}"
            tables[kind].setdefault(spec.name, spec)


@cache
def registry(files: tuple[Path, ...] = ()) -> Registry:
    """Load every plugin once.

    Args:
        files: Local plugin files (``--plugin``). A file that does not load is an error, because the user named it.

    Raises:
        PluginError: A file in ``files`` cannot be loaded.
    """
    manager = pluggy.PluginManager("shiqbench")
    manager.add_hookspecs(specs)
    found = Registry()
    for entry, distribution in _entry_points():
        plugin = Plugin(entry.name, distribution.name, distribution.version)
        try:
            _register(manager, found, plugin, entry.load())
        except Exception as error:
            found.failures.append(PluginFailure(entry.name, distribution.name, reason(error)))
    for path in files:
        try:
            plugin = Plugin(str(path), str(path), f"sha256:{_sha256(path)}")
            _register(manager, found, plugin, _import_file(path))
        except Exception as error:
            raise PluginError(
                f"plugin file does not load: {reason(error)}",
                where=str(path),
                do="fix the file, or run without --plugin",
            ) from error
    return found


def _entry_points() -> list[tuple[importlib.metadata.EntryPoint, importlib.metadata.Distribution]]:
    """Entry points with their distributions; of distributions with one name only the first counts, as for imports."""
    found = importlib.metadata.entry_points(group=specs.ENTRY_POINT_GROUP)
    return [(e, e.dist) for e in sorted(found, key=lambda e: (str(e.dist and e.dist.name), e.name)) if e.dist]


def _register(manager: pluggy.PluginManager, found: Registry, plugin: Plugin, module: Any) -> None:
    """Collect everything before adding anything, so that a plugin that fails adds nothing."""
    manager.register(module, name=f"{plugin.distribution}:{plugin.name}")
    others = [p for p in manager.get_plugins() if p is not module]
    callers = {kind: manager.subset_hook_caller(f"shiqbench_register_{kind}s", others) for kind in SPEC_TYPES}
    try:
        trial = Registry()
        offered = {kind: [s for part in caller() for s in part] for kind, caller in callers.items()}
        for kind, items in offered.items():
            trial.add(plugin, kind, items)
    except Exception:
        manager.unregister(module)
        raise
    for kind, items in offered.items():
        found.add(plugin, kind, items)
    found.plugins.append(plugin)


def _import_file(path: Path) -> Any:
    name = f"shiqbench_plugin_{path.stem}_{_sha256(path)[:12]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # lazy targets "name:Class" resolve against it
    module_spec.loader.exec_module(module)
    return module


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
