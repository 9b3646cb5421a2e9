"""Canonical JSON, and the digests computed from it."""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DIGEST_LENGTH = 12


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

    Files that a DONE file names are verified with :func:`file_sha256`, since a disk may change bytes without a trace.
    """
    facts = path.stat()
    return _sha256_of(path, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, facts: tuple[int, ...]) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
