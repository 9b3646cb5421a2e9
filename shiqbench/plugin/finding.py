"""What a class says about where it and its configuration are found, and why a plugin cannot be imported."""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, get_args

from shiqbench.base.errors import PluginError

if TYPE_CHECKING:
    from shiqbench.plugin.config import Section


def target_of(found: type) -> str:
    """The lazy ``"package.module:Class"`` that names a class.

    Raises:
        PluginError: The class is defined inside a function or another class.
    """
    if "." in found.__qualname__:
        raise PluginError(
            f"{found.__qualname__} cannot be imported by name", where=found.__module__, do="move it to the module's top"
        )
    return f"{found.__module__}:{found.__qualname__}"


def config_of(component: type, base: type[Section]) -> type:
    """The configuration that a class names: ``config: MyConfig`` in its body, or ``Algorithm[MyConfig]``.

    Args:
        component: The class. Where it names none, its parents are asked.
        base: What the configuration is a subclass of.

    Raises:
        PluginError: It names none that is known when the class is defined.
    """
    for owner in component.__mro__:
        parents = owner.__dict__.get("__orig_bases__", ())
        named: list[Any] = [inspect.get_annotations(owner).get("config")]
        named += [argument for parent in parents for argument in get_args(parent)]
        for found in named:
            if isinstance(found, str):  # an annotation, where annotations are not evaluated
                found = getattr(sys.modules[owner.__module__], found, None)
            if isinstance(found, type) and issubclass(found, base):
                return found
    raise PluginError(
        f"{component.__name__} does not say which {base.__name__} it takes",
        where=component.__module__,
        do=f"write `config: MyConfig` in it, with a subclass of {base.__name__} that is imported at run time",
    )


def reason(error: Exception) -> str:
    """Why a plugin cannot be imported; where it imports what plugins find elsewhere, that place."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("shiqbench."):
        from shiqbench import plugin

        names = ", ".join(n for n in _imported_names(error) if n in plugin.__all__)
        if names:
            return f"{error.name} is now shiqbench.plugin: from shiqbench.plugin import {names}"
        return f"there is no {error.name}: a plugin imports from shiqbench.plugin only, see docs/plugin_api.md"
    return f"{type(error).__name__}: {error}"


def _imported_names(error: Exception) -> list[str]:
    """Names that the failed import statement asks for."""
    frame = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")][-1]
    lines = linecache.getlines(frame.filename)[(frame.lineno or 1) - 1 : frame.end_lineno]
    return re.findall(r"\w+", "".join(lines).partition(" import ")[2])
