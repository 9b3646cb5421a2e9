"""Atomic writes of files (temporary name, flush, rename), and lines that carry their own checksum."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


def temporary_name(path: Path) -> Path:
    """Return the name, in the same folder, under which this process writes ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def writer_of(path: Path) -> int | None:
    """Return the id of the process that chose a name with :func:`temporary_name`; None for any other name."""
    found = TEMPORARY.fullmatch(path.name)
    return int(found[1]) if found else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file in the same folder; on success it is renamed to ``path``.

    Raises:
        ConfigError: It is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", do="name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder in the same parent folder; on success it is renamed to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON completely or not at all.

    Raises:
        ConfigError: A number is NaN or infinite, which JSON does not know; the message names its key.
    """
    if (found := not_finite(value)) is not None:
        raise ConfigError(
            f"{found} is not finite, and JSON has only finite numbers", where=str(path), do="write null or text instead"
        )
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def not_finite(value: Any, key: str = "") -> str | None:
    """Return the path of keys to the first number that is NaN or infinite, with that number; None without one."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{key or 'the value'}={value}"
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (not_finite(part, f"{key}.{name}" if key else str(name)) for name, part in parts)
    return next((f for f in found if f is not None), None)


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        ConfigError: It is not UTF-8; the message names the line and the byte.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"not UTF-8: line {line}, byte {byte} is 0x{content[error.start]:02x}",
            where=str(path),
            do="save the file as UTF-8, for example with iconv",
        ) from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ConfigError: It is not UTF-8.
        json.JSONDecodeError: It is not JSON.
    """
    return json.loads(read_text(path))


def checked_line(content: dict[str, Any]) -> bytes:
    """Return a line for a file that grows; its checksum shows whether the line is complete."""
    text = json.dumps(content, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode()


def checked_content(line: bytes) -> dict[str, Any] | None:
    """Return the content that :func:`checked_line` wrote; None if the line is cut off or damaged."""
    sha256, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(text[:-1]).hexdigest().encode() != sha256:
        return None
    content: dict[str, Any] = json.loads(text)
    return content


def is_whole_zip(path: Path) -> bool:
    """Whether a zip file matches its checksums. :func:`torch.save` writes zip files, and torch does not check them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damaged lengths, names and flags lead to many kinds of errors
        return False


def read_records(evaluation: Path) -> list[dict[str, Any]]:
    """Read the records of a finished evaluation from its folder, one per example."""
    import pyarrow.parquet as pq

    records: list[dict[str, Any]] = pq.read_table(evaluation / "records.parquet").to_pylist()
    return records
