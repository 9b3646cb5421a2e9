"""Read finished folders; every file is read once and checked against DONE."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from shiqbench.base.digest import canonical_json
from shiqbench.base.errors import CorruptCellError
from shiqbench.store.cell import DONE, SCHEMA, corrupt
from shiqbench.store.index.entries import Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PART = 2000  # number of folders that are read together
CONFIG, MANIFEST, METRICS, RECORDS = "config.json", "manifest.json", "metrics.json", "records.parquet"
PRIMARY = ("name", "value", "low", "high", "higher_is_better")
NOT_SETTING = ("schema", "train", "update", "best")  # keys of an evaluation's recipe that are not part of its setting


@dataclass
class Part:
    """Content of some folders: rows for the database, their shared texts, and damaged folders."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    corrupt: list[Unfinished] = field(default_factory=list)


def read_all(results: str, new: Sequence[tuple[str, str]]) -> Iterator[Part]:
    """Read the new folders; if they are many and forking is safe, one process per core reads them."""
    read = partial(_read_part, results)
    parts = [new[i : i + PART] for i in range(0, len(new), PART)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(parts) <= 2 or cores == 1 or threading.active_count() > 1:
        yield from map(read, parts)
        return
    with multiprocessing.get_context("fork").Pool(min(cores, len(parts))) as pool:
        yield from pool.imap_unordered(read, parts)


def _read_part(results: str, folders: Sequence[tuple[str, str]]) -> Part:
    part = Part()
    for folder, stamp in folders:
        try:
            facts, text = read_folder(f"{results}/{folder}")
        except CorruptCellError as error:
            part.corrupt.append(Unfinished(folder, "corrupt", error.what))
            continue
        key = hashlib.sha256(text.encode()).hexdigest()
        part.entries.append((folder, stamp, json.dumps({**facts, "text": key})))
        part.texts[key] = text
    return part


@lru_cache(maxsize=1024)  # thousands of cells share a recipe
def _canonical(content: bytes) -> str:
    return canonical_json(from_json(content))


def read_folder(folder: str) -> tuple[dict[str, Any], str]:
    """Return the facts of a finished folder, and the text that it shares with others: its recipe or its setting.

    Raises:
        CorruptCellError: A file does not match DONE, or its content is not valid.
    """
    try:
        files = from_json(_bytes(folder, DONE))["files"]
        config = from_json(_checked(folder, CONFIG, files))
        if config.get("schema", 0) > SCHEMA:
            raise corrupt(Path(folder), f"it has schema {config['schema']}, and this version reads up to {SCHEMA}")
        manifest = from_json(_checked(folder, MANIFEST, files))
        if METRICS not in files:
            return {"seed": config.pop("seed"), **_of_cell(manifest)}, _canonical(to_json(config))
        metrics = from_json(_checked(folder, METRICS, files))
        best = "best" in config
        update = manifest["best"]["update"] if best else config.get("update")
        facts = {"update": update, "best": best, **_of_evaluation(manifest, metrics)}
        return facts, _canonical(to_json({k: v for k, v in config.items() if k not in NOT_SETTING}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(Path(folder), f"its files do not contain a valid result: {error}") from error


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
    """Return the content of a file of a finished folder.

    Raises:
        CorruptCellError: The file does not match DONE.
    """
    try:
        files = from_json(_bytes(str(folder), DONE))["files"]
        return _checked(str(folder), name, files)
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(folder, f"DONE does not name {name}") from error


def checked_frame(evaluation: Path, columns: Sequence[str]) -> Any:
    """Return these columns of a finished evaluation's records, as a frame.

    Raises:
        CorruptCellError: The records do not match DONE.
    """
    import io

    import pandas as pd

    return pd.read_parquet(io.BytesIO(checked_file(evaluation, RECORDS)), columns=list(columns))


def checked_columns(evaluation: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Return these columns of a finished evaluation's records as lists; it is ten times as fast as a frame.

    Raises:
        CorruptCellError: The records do not match DONE, or lack a column.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = checked_file(evaluation, RECORDS)
    try:
        table = parquet.ParquetFile(pa.BufferReader(content)).read(list(columns), use_threads=False)
    except pa.ArrowException as error:
        raise corrupt(evaluation, f"{RECORDS} cannot be read: {error}") from error
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise corrupt(evaluation, f"{RECORDS} has no column {', '.join(lacking)}")
    return {name: table.column(name).to_pylist() for name in columns}


def _of_cell(manifest: Mapping[str, Any]) -> dict[str, Any]:
    budget = manifest.get("budget") or {}
    return {
        "model": manifest["model"],
        "start": manifest.get("start"),
        "seconds": manifest.get("seconds"),
        "budget": {k: budget[k] for k in ("updates", "tokens", "episodes") if k in budget} | _offered(manifest),
        "pass_tokens": _pass_tokens(manifest),
        "parameters": manifest.get("parameters"),
        "trained_parameters": manifest.get("trained_parameters"),
        "hardware": _hardware(manifest.get("hardware") or {}),
        "version": manifest.get("shiqbench", ""),
    }


def _offered(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Number of episodes that the training could use; a task with its own policy may not tell it."""
    behaviours = (manifest.get("data") or {}).get("behaviours")
    return {"offered": sum(b["used"] for b in behaviours.values())} if behaviours else {}


def _hardware(facts: Mapping[str, Any]) -> str:
    """The graphics processors, or else the processor with its cores; empty if the manifest does not tell."""
    counts = Counter(facts.get("gpus") or ())
    if counts:
        return ", ".join(f"{n} x {name}" for name, n in counts.items())
    return f"{facts['cpu']}, {facts['cores']} cores" if "cpu" in facts and "cores" in facts else ""


def _pass_tokens(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Tokens by kind of pass; before schema 2, a manifest tells of the policy's and the mismatched passes only."""
    if "pass_tokens" in manifest:
        return {kind: tokens for kind, tokens in manifest["pass_tokens"].items() if tokens}
    found = {
        "policy": (manifest.get("budget") or {}).get("tokens", 0),
        "mismatched": manifest.get("mismatched_tokens", 0),
    }
    return {kind: tokens for kind, tokens in found.items() if tokens}


def _of_evaluation(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    primary = {name: metrics["primary"][name] for name in PRIMARY}
    numbers = {"primary": primary["value"], **metrics["metrics"]}
    if odd := [name for name, value in numbers.items() if not isinstance(value, int | float)]:
        raise ValueError(f"{', '.join(odd[:5])} is no number")
    return {
        "primary": primary,
        "metrics": metrics["metrics"],
        "seconds": manifest["seconds"]["total"],
        "reduced": manifest["reduced"],
    }
