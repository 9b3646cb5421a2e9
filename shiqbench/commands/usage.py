"""One line for each mistake in options and arguments, in the words of the other errors."""

from __future__ import annotations

from typing import Any

from shiqbench.base.errors import ConfigError

KINDS = {"int_parsing": "whole number", "int_from_float": "whole number", "float_parsing": "number"}
SEE = "see --help"


def usage_line(error: Any) -> str:
    """Return the line for an error of typer: what is wrong, which option, what it takes."""
    found = error.__cause__
    if error.__class__.__name__ != "BadParameter" or not hasattr(found, "errors"):
        return f"{error.format_message().rstrip('.')}; {SEE}"
    first, takes = found.errors()[0], _bounds(error.param)
    said = repr(first["input"])
    if (kind := KINDS.get(first["type"])) is not None:
        what = f"{said} is no {kind}" + (f", {takes}" if takes else "")
    elif takes:
        what = f"{first['input']!s} is not {takes}"
    else:
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
    return ConfigError(what, where=_name(error.param), do=SEE).line()


def _name(param: Any) -> str:
    return str(max(param.opts, key=len) if param.opts[0].startswith("-") else param.human_readable_name)


def _bounds(param: Any) -> str:
    """What a number may be; empty if there are no bounds."""
    info = param.get_runtime_param().parameter_info
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    if low is not None and high is not None:
        return f"{low} or {high}" if high - low == 1 else f"{low} to {high}"
    return f"{low} or more" if low is not None else f"{high} or less" if high is not None else ""
