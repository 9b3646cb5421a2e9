"""The ids that end an answer, as a model folder declares them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

EOS = "eos_token_id"


def declared_stops(folder: Path) -> tuple[int, ...]:
    """Return the end-of-sequence ids of ``generation_config.json`` and ``config.json``, each once, in this order.

    A model often declares several, such as an end of text, an end of turn and an end of a message to a tool.
    A model with several parts declares those of its language model in ``text_config``.

    Raises:
        ConfigError: A file is not JSON, or an id is not a whole number.
    """
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        content = _read(folder / name)
        found += _ids(content, folder / name) + _ids(content.get("text_config"), folder / name)
    return tuple(dict.fromkeys(found))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = read_json(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not JSON: {error}", where=str(file), do="fix the file, or download it again") from error
    return content if isinstance(content, dict) else {}


def _ids(content: Any, file: Path) -> list[int]:
    declared = content.get(EOS) if isinstance(content, dict) else None
    ids = declared if isinstance(declared, list) else [] if declared is None else [declared]
    if any(type(i) is not int for i in ids):
        raise ConfigError(f"{EOS} is {declared!r}", where=str(file), do="write an id, or a list of ids")
    return ids
