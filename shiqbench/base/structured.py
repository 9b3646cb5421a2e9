"""Files of settings in TOML or YAML, read to the same values."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_text

if TYPE_CHECKING:
    from pathlib import Path

YAML = (".yaml", ".yml")
# The plain values of YAML 1.2, which are those of JSON: `no` and `on` are text, and 1e-5 is a number.
PLAIN = {
    "null": ("null|~|", ["n", "~", ""]),
    "bool": ("true|false", ["t", "f"]),
    "int": ("[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
}


def read_structured(path: Path, like: str) -> dict[str, Any]:
    """Read a file: YAML if its name ends in .yaml or .yml, else TOML.

    Args:
        path: The file.
        like: What to give instead, for errors.

    Raises:
        ConfigError: The file cannot be read, or is not what its name says.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), do=f"give {like}") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path), do="give a text file") from error
    if path.suffix.lower() in YAML:
        return _yaml(text, path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        do = (
            "fix that line"
            if path.suffix.lower() == ".toml"
            else "fix that line, or end the name of a YAML file in .yaml"
        )
        raise ConfigError(f"not TOML: {error}", where=str(path), do=do) from None


def _yaml(text: str, path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.load(text, Loader=_loader())  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", where=str(path), do="fix that line") from None
    if not isinstance(found, dict):
        raise ConfigError("holds no keys", where=str(path), do="write `key: value` lines")
    return found


def _loader() -> Any:
    """YAML's safe loader with the plain values of version 1.2; a key that appears twice is an error, as in TOML."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            for key, _ in node.value:
                if names.count(key.value) > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} appears twice", key.start_mark)
            return super().construct_mapping(node, deep)

    for kind, (pattern, first) in PLAIN.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), first)
    return Loader
