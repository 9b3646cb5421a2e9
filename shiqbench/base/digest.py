"""Canonical JSON, and the digests computed from it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST_LENGTH = 12
RECENT = 2_000_000_000  # ns; a file that changed this recently may change again without another time
READ_THOUGH_HIDDEN = ".huggingface.yaml"  # says which files of a data folder are read


def canonical_json(value: Any) -> str:
    """Return the one text of a JSON value: sorted keys, no spaces. Key order and 1.0 versus 1 do not matter."""
    return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _normal(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_normal(v) for v in value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return int(value)
    return value


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON, 64 hex digits; folder names use the first 12."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def short(full: str) -> str:
    """Return the short form of a digest, for folder names and messages."""
    return full[:DIGEST_LENGTH]


def known_sha256(path: Path) -> str:
    """Return the sha256 of a file that identifies something, such as a model; hash again only a file that was touched.

    The time of the last change of a file's metadata tells, which ``cp -p`` and ``rsync -t`` cannot set.
    Files that a DONE file names are verified with :func:`file_sha256`, since a disk may change bytes without a trace.
    """
    facts = path.stat()
    if abs(time.time_ns() - facts.st_ctime_ns) < RECENT:
        return file_sha256(path)
    return _sha256_of(path, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, facts: tuple[int, ...]) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, or of the files of a folder with their names in it.

    A copy in another place has the same sha256. Hidden files and ``__pycache__`` are left out.
    """
    if path.is_file():
        return known_sha256(path)
    return digest({file.relative_to(path).as_posix(): known_sha256(file) for file in _files(path)})


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in names:
            if not name.startswith(".") or name == READ_THOUGH_HIDDEN:
                yield Path(at, name)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Convert ``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
