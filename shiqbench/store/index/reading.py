"""Reads finished folders, every file once and checked against its DONE."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from shiqbench.base.digest import canonical_json
from shiqbench.base.errors import CorruptCellError
from shiqbench.store.cell import DONE, corrupt
from shiqbench.store.index.entries import Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PART = 2000  # folders that are read together
CONFIG, MANIFEST, METRICS = "config.json", "manifest.json", "metrics.json"
NOT_SETTING = ("schema", "train", "update")  # of an evaluation's recipe
# Keys of the outermost level, by its indentation; a newline cannot be inside of a JSON string.
_SEED = re.compile(rb'\n  "seed": (null|\d+)')
_TRAIN = re.compile(rb'\n  "train": "[0-9a-f]{64}"')


@dataclass
class Part:
    """What was read of some folders: rows for the database, their shared texts, and the damaged."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    corrupt: list[Unfinished] = field(default_factory=list)


def read_all(results: str, new: Sequence[tuple[str, str]]) -> Iterator[Part]:
    """Many folders are read by as many processes as there are cores, where forking is safe."""
    read = partial(_read_part, results)
    parts = [new[i : i + PART] for i in range(0, len(new), PART)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(parts) <= 2 or cores == 1 or threading.active_count() > 1:
        yield from map(read, parts)
        return
    with multiprocessing.get_context("fork").Pool(min(cores, len(parts))) as pool:
        yield from pool.imap_unordered(read, parts)


def _read_part(results: str, folders: Sequence[tuple[str, str]]) -> Part:
    reader, part = _Reader(), Part()
    for folder, stamp in folders:
        try:
            facts, key, text = reader.read(f"{results}/{folder}")
        except CorruptCellError as error:
            part.corrupt.append(Unfinished(folder, "corrupt", error.what))
            continue
        part.entries.append((folder, stamp, json.dumps(facts)))
        part.texts[key] = text
    return part


class _Reader:
    """Reads finished folders; what many of them have in common is parsed once."""

    def __init__(self) -> None:
        self._texts: dict[bytes, tuple[str, str]] = {}

    def read(self, folder: str) -> tuple[dict[str, Any], str, str]:
        """What is kept of a finished folder, then the key and text of what it shares with others.

        Raises:
            CorruptCellError: A file is not the one that DONE names, or does not hold what it should.
        """
        try:
            files = from_json(_bytes(folder, DONE))["files"]
            config = _checked(folder, CONFIG, files)
            manifest = from_json(_checked(folder, MANIFEST, files))
            if METRICS in files:
                key, text, update = self._setting(config)
                facts = {
                    "update": update,
                    **_of_evaluation(manifest, from_json(_checked(folder, METRICS, files))),
                }
            else:
                key, text, seed = self._recipe(config)
                facts = {"seed": seed, **_of_cell(manifest)}
        except (ValueError, KeyError, TypeError) as error:
            raise corrupt(Path(folder), f"its files do not hold what a result does: {error}") from error
        return {**facts, "text": key}, key, text

    def _recipe(self, config: bytes) -> tuple[str, str, int | None]:
        """Key and text of a recipe without its seed, and the seed."""
        found = _SEED.search(config)
        seed = from_json(found[1]) if found else from_json(config)["seed"]
        return *self._shared(config, found, ("seed",)), seed

    def _setting(self, config: bytes) -> tuple[str, str, int | None]:
        """Key and text of what comparable evaluations share, and the update of the weights."""
        update = from_json(config).get("update") if b'"update"' in config else None
        return *self._shared(config, _TRAIN.search(config), NOT_SETTING), update

    def _shared(self, config: bytes, own: re.Match[bytes] | None, apart: tuple[str, ...]) -> tuple[str, str]:
        """Files that differ in nothing but their own part share the rest, which is parsed for the first of them."""
        rest = config if own is None else config[: own.start()] + config[own.end() :]
        if rest not in self._texts:
            text = canonical_json({k: v for k, v in from_json(config).items() if k not in apart})
            self._texts[rest] = hashlib.sha256(text.encode()).hexdigest(), text
        return self._texts[rest]


def _bytes(folder: str, name: str) -> bytes:
    try:
        file = os.open(f"{folder}/{name}", os.O_RDONLY)
    except OSError as error:
        raise corrupt(Path(folder), f"{name} is missing") from error
    try:
        parts = []
        while part := os.read(file, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def _checked(folder: str, name: str, files: Mapping[str, Any]) -> bytes:
    content = _bytes(folder, name)
    if hashlib.sha256(content).hexdigest() != files[name]["sha256"]:
        raise corrupt(Path(folder), f"{name} has another sha256")
    return content


def checked_file(folder: Path, name: str) -> bytes:
    """A file of a finished folder.

    Raises:
        CorruptCellError: It is not the one that DONE names.
    """
    try:
        files = from_json(_bytes(str(folder), DONE))["files"]
        return _checked(str(folder), name, files)
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(folder, f"DONE does not name {name}") from error


def checked_frame(evaluation: Path, columns: Sequence[str]) -> Any:
    """These columns of a finished evaluation's records, as a frame.

    Raises:
        CorruptCellError: The records are not those that DONE names.
    """
    import io

    import pandas as pd

    return pd.read_parquet(io.BytesIO(checked_file(evaluation, "records.parquet")), columns=list(columns))


def _of_cell(manifest: Mapping[str, Any]) -> dict[str, Any]:
    budget = manifest.get("budget") or {}
    return {
        "model": manifest["model"],
        "start": manifest.get("start"),
        "seconds": manifest.get("seconds"),
        "budget": {k: budget[k] for k in ("updates", "tokens") if k in budget},
    }


def _of_evaluation(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "primary": metrics["primary"],
        "metrics": metrics["metrics"],
        "seconds": manifest["seconds"]["total"],
        "reduced": manifest["reduced"],
    }
