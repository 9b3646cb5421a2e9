"""One place validates every section of a configuration: errors of one line, with the nearest name."""

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
    """A section from its values.

    Raises:
        ConfigError: The first unknown or ill-typed key, in one line.
    """
    values = {k: _as_sequence(kind, k, v) for k, v in values.items()}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):  # a section that says itself what is wrong
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
            do="see `shiqbench show` for its type and default",
        ) from None


def _as_sequence(kind: type[BaseModel], name: str, value: Any) -> Any:
    """``a,b`` stands for a list where a list is wanted."""
    field = kind.model_fields.get(name)
    wants = field is not None and str(field.annotation).startswith(("tuple", "list"))
    return value.split(",") if wants and isinstance(value, str) else value
