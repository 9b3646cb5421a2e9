"""What names the submitter's machine: places of files. Submissions hold the last name of each path only."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PART = r"[^\s/\\'\"`,;:()\[\]{}<>|]+"
# A path from the root or from a home folder, of two names or more; no address of the web and no fraction.
_PATH = re.compile(rf"(?:file://|(?<![\w/:.~]))(?:(?:[A-Za-z]:)?(?:[/\\]{_PART}){{2,}}|~\w*(?:[/\\]{_PART})+)[/\\]?")
_OF_CELL = re.compile(r"[\w.-]+/[0-9a-f]{12}")


def without_paths(value: Any) -> Any:
    """The same JSON value with the last name in place of each path in its texts, keys included."""
    if isinstance(value, str):
        return _PATH.sub(lambda found: _last_name(found[0]), value)
    if isinstance(value, dict):
        return {without_paths(key): without_paths(inner) for key, inner in value.items()}
    return [without_paths(inner) for inner in value] if isinstance(value, list) else value


def public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest for others: without ``places``, and without paths in everything else."""
    found: dict[str, Any] = without_paths({key: value for key, value in manifest.items() if key != "places"})
    if isinstance(manifest.get("model"), str):
        found["model"] = public_model(manifest["model"], manifest.get("model_revision"))
    return found


def public_model(text: str, revision: str | None) -> str:
    """A model as it was typed, for others: the name of a hub or of a cell as it is, of a folder its last name."""
    return text if revision is not None or _OF_CELL.fullmatch(text) else _last_name(text)


def paths_here(value: Any, key: str = "") -> Iterator[str]:
    """The keys of texts that are a path on this machine; of a recipe nothing can be left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths_here(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from paths_here(inner, key)
    elif isinstance(value, str) and value.startswith(("/", "~")) and _is_here(value):
        yield key


def _is_here(text: str) -> bool:
    try:
        path = Path(text).expanduser()
        return len(path.parts) > 1 and (path.exists() or path.is_relative_to(Path.home()))
    except (OSError, ValueError, RuntimeError):  # too long for a path, or a home folder of nobody
        return False


def _last_name(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name or path
