"""Validation of every configuration section: one-line errors that suggest the nearest name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

M = TypeVar("M", bound=BaseModel)


def validate(kind: type[M], values: Mapping[str, Any], section: str) -> M:
    """Make a section from its values.

    Raises:
        ConfigError: A key is unknown, or its value has a wrong type; the error names the first such key in one line.
    """
    values = {k: _as_sequence(kind, k, v) for k, v in values.items()}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):  # the section's own error
            raise cause from None
        key = ".".join([section, *(str(p) for p in first["loc"])])
        if first["type"] == "extra_forbidden":
            known = [f"{section}.{name}" for name in kind.model_fields]
            raise ConfigError(
                f"unknown setting {key!r}{did_you_mean(key, known)}",
                where="--set",
                do=f"{section} has {', '.join(kind.model_fields) or 'no settings'}",
            ) from None
        raise ConfigError(
            f"{key} = {json.dumps(first['input'], default=str)[:80]}: {first['msg'].lower()}",
            where="--set",
            do="`shiqbench show NAME` prints the settings of an algorithm or task, with types and defaults",
        ) from None


def _as_sequence(kind: type[BaseModel], name: str, value: Any) -> Any:
    """Split the text ``a,b`` into a list if the field is a list or a tuple."""
    field = kind.model_fields.get(name)
    wants = field is not None and str(field.annotation).startswith(("tuple", "list"))
    return value.split(",") if wants and isinstance(value, str) else value
