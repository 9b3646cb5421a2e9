"""Read a matrix file, or a dictionary with the same content, and validate it; all errors are reported together."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.base.files import read_text
from shiqbench.base.suggest import did_you_mean
from shiqbench.matrices.schema import MatrixFile

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(source: Path | Mapping[str, Any]) -> MatrixFile:
    """Read and validate a matrix.

    Raises:
        ConfigListError: Keys, types or TOML are wrong; each error names file and key.
    """
    if not isinstance(source, Path):
        return _checked(dict(source), "the matrix")
    try:
        values = tomllib.loads(read_text(source))
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(source), do="give a matrix file like those in examples/") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", where=str(source), do="give a text file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}", where=str(source), do="fix that line") from None
    return _checked(values, str(source))


def _checked(values: dict[str, Any], name: str) -> MatrixFile:
    try:
        return MatrixFile.model_validate(values)
    except ValidationError as error:
        raise ConfigListError([_one(found, name) for found in error.errors()]) from None


def _one(found: Any, name: str) -> ConfigError:
    path = [str(part) for part in found["loc"]]
    key = ".".join(path)
    if found["type"] == "extra_forbidden":
        known = list(_section(path[:-1]).model_fields)
        near = did_you_mean(path[-1], known)
        return ConfigError(f"unknown key {key!r}{near}", where=name, do=f"known are {', '.join(known)}")
    if found["type"] == "missing":
        return ConfigError(f"{key} is missing", where=name, do="add it")
    return ConfigError(
        f"{key}: {found['msg'].removeprefix('Value error, ').lower()}", where=name, do="see docs/matrix.md"
    )


def _section(path: list[str]) -> type[BaseModel]:
    """Return the section at the end of a path of keys; names and positions in lists are skipped."""
    at: type[BaseModel] = MatrixFile
    for part in path:
        field = at.model_fields.get(part)
        inner = [a for a in _types(field.annotation) if _is_section(a)] if field else []
        at = inner[0] if inner else at
    return at


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(t for a in get_args(annotation) for t in _types(a))]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
