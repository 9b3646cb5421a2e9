"""Writes that are whole or absent: temporary name, flush, rename; and lines that tell whether they are whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


def temporary_name(path: Path) -> Path:
    """The name beside ``path`` under which this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def writer_of(path: Path) -> int | None:
    """The process that wrote under a name of :func:`temporary_name`; None for any other name."""
    found = TEMPORARY.fullmatch(path.name)
    return int(found[1]) if found else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path`` that becomes ``path`` on success."""
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
    """Yield a temporary folder beside ``path`` that becomes ``path`` on success."""
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
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def checked_line(content: dict[str, Any]) -> bytes:
    """A line for a file that grows, which tells by itself whether it is whole."""
    text = json.dumps(content, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode()


def checked_content(line: bytes) -> dict[str, Any] | None:
    """What :func:`checked_line` wrote; None if the line is cut off or damaged."""
    sha256, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(text[:-1]).hexdigest().encode() != sha256:
        return None
    content: dict[str, Any] = json.loads(text)
    return content


def is_whole_zip(path: Path) -> bool:
    """Whether a zip file, which is what :func:`torch.save` writes, agrees with its checksums; torch does not look."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # whatever damaged lengths, names and flags lead to
        return False


def read_records(evaluation: Path) -> list[dict[str, Any]]:
    """The records of a finished evaluation's folder, one per example."""
    import pyarrow.parquet as pq

    records: list[dict[str, Any]] = pq.read_table(evaluation / "records.parquet").to_pylist()
    return records
