"""Read a matrix file, or a dictionary with the same content, and validate it; all errors are reported together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from shiqbench.base.errors import ConfigError, ConfigListError
from shiqbench.base.structured import read_structured
from shiqbench.base.suggest import did_you_mean
from shiqbench.matrices.schema import MatrixFile

if TYPE_CHECKING:
    from collections.abc import Mapping

M = TypeVar("M", bound=BaseModel)


def read(source: Path | Mapping[str, Any]) -> MatrixFile:
    """Read and validate a matrix.

    Raises:
        ConfigListError: Keys, types or the file's format are wrong; each error names file and key.
    """
    if not isinstance(source, Path):
        return check(MatrixFile, dict(source), "the matrix", "docs/matrix.md")
    return check(
        MatrixFile, read_structured(source, "a matrix file like those in examples/"), str(source), "docs/matrix.md"
    )


def check(kind: type[M], values: Mapping[str, Any], name: str, page: str) -> M:
    """Make what a file describes.

    Args:
        kind: What the file describes.
        values: Content of the file.
        name: The file, for errors.
        page: Page of the documentation that lists the keys.

    Raises:
        ConfigListError: Keys or types are wrong; each error names file and key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigListError([_one(kind, found, name, page) for found in error.errors()]) from None


def _one(kind: type[BaseModel], found: Any, name: str, page: str) -> ConfigError:
    path = [str(part) for part in found["loc"]]
    key = ".".join(path)
    if found["type"] == "extra_forbidden":
        known = list(_section(kind, path[:-1]).model_fields)
        near = did_you_mean(path[-1], known)
        return ConfigError(f"unknown key {key!r}{near}", where=name, do=f"known are {', '.join(known)}")
    if found["type"] == "missing":
        return ConfigError(f"{key} is missing", where=name, do="add it")
    return ConfigError(f"{key}: {found['msg'].removeprefix('Value error, ').lower()}", where=name, do=f"see {page}")


def _section(at: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Return the section at the end of a path of keys; names and positions in lists are skipped."""
    for part in path:
        field = at.model_fields.get(part)
        inner = [a for a in _types(field.annotation) if _is_section(a)] if field else []
        at = inner[0] if inner else at
    return at


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(t for a in get_args(annotation) for t in _types(a))]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
