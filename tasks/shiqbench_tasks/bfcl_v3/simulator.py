"""The simulated tools of one episode: separate instances of the official classes, called without ``eval``."""

from __future__ import annotations

import ast
import copy
import decimal
import importlib
import inspect
import json
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import AssetError
from shiqbench_tasks.bfcl_v3.calls import Call
from shiqbench_tasks.bfcl_v3.data import TOOL_FILES
from shiqbench_tasks.bfcl_v3.guards import RefusedError, check_cost, in_fixed_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from shiqbench_tasks.bfcl_v3.data import Entry

_PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval"
_STATELESS = ("MathAPI",)
NAME_BEFORE_BRACKET = re.compile(r"\b([a-zA-Z_]\w*)\s*(?=\()")  # the official executor takes a match for a tool


@dataclass(frozen=True)
class Official:
    """The parts of the official package that are used, imported from the pinned wheel.

    Attributes:
        classes: Simulated classes by name.
        tools: Names of their public methods.
        state_checker: Compares model instances with ground-truth instances.
        response_checker: Looks for the ground truth's responses among the model's.
        prompts: The module with the texts of the official prompts.
    """

    classes: dict[str, type[Any]]
    tools: dict[str, tuple[str, ...]]
    state_checker: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    response_checker: Callable[[list[str], list[str], int], dict[str, Any]]
    prompts: ModuleType


@cache
def official(root: Path) -> Official:
    """Import the official package only from ``root``.

    Its modules are removed from ``sys.modules`` afterwards. So both versions, and one that other code imported, can
    exist in one process.

    Raises:
        AssetError: The package cannot be imported.
    """
    try:
        with _alone(root), warnings.catch_warnings():  # invalid escapes in the official sources
            warnings.simplefilter("ignore")
            utilities = importlib.import_module(f"{_PACKAGE}.multi_turn_utils")
            checker = importlib.import_module(f"{_PACKAGE}.multi_turn_checker")
            prompts = importlib.import_module("bfcl_eval.constants.default_prompts")
            classes = {
                name: getattr(importlib.import_module(utilities.CLASS_FILE_PATH_MAPPING[name]), name)
                for name in TOOL_FILES
            }
    except ImportError as error:
        raise AssetError(
            f"cannot import the official simulator: {error}",
            where=str(root),
            do="delete that folder and run shiqbench fetch bfcl_v3",
        ) from error
    tools = {name: tuple(_public_methods(kind)) for name, kind in classes.items()}
    return Official(classes, tools, checker.state_checker, checker.response_checker, prompts)


def _public_methods(kind: type[Any]) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Import ``bfcl_eval`` from ``root`` inside the block; afterwards restore the modules of before."""
    before = _forget()
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
        _forget()
        sys.modules.update(before)


def _forget() -> dict[str, ModuleType]:
    top = _PACKAGE.partition(".")[0]
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == top}


class ToolBox:
    """The tools of one episode and their state. They share nothing with any other episode.

    Args:
        entry: The scenario.
        root: Folder of the unpacked wheel.
        rewrites: Whether texts in arguments are changed as the official executor changes them: it looks for tools'
            names before brackets in the text of the whole call, and writes an instance's name before them.
    """

    def __init__(self, entry: Entry, root: Path, *, rewrites: bool = False) -> None:
        classes, tools = official(root).classes, official(root).tools
        self.instances: dict[str, Any] = {}
        for name in entry.classes:
            instance = classes[name]()
            if name not in _STATELESS:
                start = copy.deepcopy(entry.initial_config.get(name, {}))
                instance._load_scenario(start, long_context=entry.long_context)
            if entry.long_context:  # the large states are module globals that the classes do not copy
                instance = copy.deepcopy(instance)
            self.instances[name] = instance
        # Every public method is a documented tool. As in the official code, a model that guesses the name of a tool
        # that is withheld or left out of the prompt can call it.
        self._methods: dict[str, Callable[..., Any]] = {
            tool: getattr(instance, tool) for name, instance in self.instances.items() for tool in tools[name]
        }
        self._owners = {tool: f"{entry.id}_{name}." for name in entry.classes for tool in tools[name]}
        self._rewrites = rewrites

    def dispatch(self, call: Call) -> str:
        """Make one call and return the response, in the official executor's words."""
        if call.answer is not None:
            return call.answer
        try:
            return in_fixed_order(call.name, _response(self._run(call)))
        except Exception as error:  # an exception of a simulated tool is its answer, as officially
            return f"Error during execution: {error}"

    def _run(self, call: Call) -> Any:
        """The result of a call, whose arguments may be calls."""
        if call.name not in self._methods:
            raise NameError(f"name '{call.name.partition('.')[0]}' is not defined")
        method = self._methods[call.name]
        call = Call(call.name, call.args, {key: self._argument(value) for key, value in call.kwargs.items()})
        check_cost(call, method)
        args, kwargs = _own_arguments(method, call)
        with _own_precision():
            return method(*args, **kwargs)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Call):
            return self._run(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._argument(item) for item in value)
        if isinstance(value, dict):
            return {self._argument(key): self._argument(inner) for key, inner in value.items()}
        if self._rewrites and isinstance(value, str) and "(" in value:
            # What is matched is the text as Python writes it, in which a line break is two characters.
            written = NAME_BEFORE_BRACKET.sub(lambda found: self._owners.get(found[1], "") + found[1], repr(value))
            return ast.parse(written, mode="eval").body.value  # type: ignore[attr-defined]
        return value

    def reached(self, call: Call) -> Callable[..., Any] | None:
        """The method that a call would run now; None if there is no such tool or its cost is refused."""
        method = self._methods.get(call.name)
        if method is None:
            return None
        try:
            check_cost(call, method)
        except RefusedError:
            return None
        return method

    def snapshot(self) -> dict[str, Any]:
        """Copies of the instances with only the attributes that the official state check compares."""
        return {name: _public_copy(instance) for name, instance in self.instances.items()}


def _own_arguments(method: Callable[..., Any], call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copies of the arguments, and a new object for every mutable default.

    ``TwitterAPI.post_tweet`` keeps the lists that it receives, and ``mention`` extends them. With the call's own lists,
    a replayed script would change. Defaults live as long as the process, so one episode would change the next.
    """
    args, kwargs = copy.deepcopy((call.args, call.kwargs))
    for position, (name, default) in enumerate(_defaults(method.__func__)):  # type: ignore[attr-defined]
        if isinstance(default, (list, dict, set)) and position >= len(args):
            kwargs.setdefault(name, copy.deepcopy(default))
    return args, kwargs


@cache
def _defaults(function: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    """Name and default of each parameter after ``self``."""
    return tuple((n, p.default) for n, p in inspect.signature(function).parameters.items())[1:]


def _response(result: object) -> str:
    """The text of a result: strings as they are, dicts as JSON, everything else by ``str``."""
    if isinstance(result, str):
        return result
    if isinstance(result, dict):
        try:
            return json.dumps(result)
        except (TypeError, ValueError):  # mpmath and decimal numbers
            return str(result)
    return str(result)


@contextmanager
def _own_precision() -> Iterator[None]:
    """Undo what ``MathAPI`` does to the process-wide precision of mpmath and decimal."""
    import mpmath

    digits = mpmath.mp.dps
    try:
        with decimal.localcontext():
            yield
    finally:
        mpmath.mp.dps = digits


def _public_copy(instance: Any) -> Any:
    twin = object.__new__(type(instance))
    public = {k: v for k, v in vars(instance).items() if not k.startswith("_")}
    vars(twin).update(copy.deepcopy(public))
    return twin
