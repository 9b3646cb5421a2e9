"""Submissions that somebody has changed, and cells with another recipe."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pandas as pd

from shiqbench.base.digest import digest, short
from shiqbench.base.files import read_json, write_json
from shiqbench.store.cell import mark_done
from shiqbench.submissions.archive import facts_of, pack, read_submission
from shiqbench.submissions.records import read_table, record_digests

Files = dict[str, bytes]
FIXED = ("done", "index", "records")  # what a liar makes fit again


TRAIN = ("run", "--algo", "shiq", "--task", "mdp", "--preset", "smoke")  # what submissions are made from


def altered(
    path: Path, target: Path, edit: Callable[[Files], None], fixed: Container[str] = FIXED, **index: Any
) -> Path:
    """Write a submission with other files, and with the checksums that its liar has thought of.

    Args:
        path: Submission to change.
        target: File to write.
        edit: Changes the files.
        fixed: Which checksums fit again: those of DONE, of the index, and of each record.
        index: Other values of the index.
    """
    submission = read_submission(path)
    files = dict(submission.files)
    edit(files)
    if "done" in fixed:
        for name in [n for n in files if n.endswith("/DONE")]:
            folder, done = name.removesuffix("DONE"), json.loads(files[name])
            done["files"] = {n: facts_of(files[folder + n]).model_dump() for n in done["files"] if folder + n in files}
            files[name] = json.dumps(done).encode()
    values = dict(index)
    if "index" in fixed:
        values.setdefault("files", {n: facts_of(c) for n, c in files.items()})
    if "records" in fixed:
        tables = {n: c for n, c in files.items() if n.endswith(".parquet")}
        values.setdefault("records", {n: record_digests(read_table(c)) for n, c in tables.items()})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pack(submission.contents.model_copy(update=values), files))
    return target


def change_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Files], None]:
    """Change the JSON file whose name ends like this."""

    def edit(files: Files) -> None:
        (key,) = [n for n in files if n.endswith(name)]
        values = json.loads(files[key])
        change(values)
        files[key] = json.dumps(values).encode()

    return edit


def change_records(change: Callable[[pd.DataFrame], Any]) -> Callable[[Files], None]:
    """Change the records: in place, or by what the function returns."""

    def edit(files: Files) -> None:
        (key,) = [n for n in files if n.endswith(".parquet")]
        frame = pd.read_parquet(io.BytesIO(files[key]))
        changed = change(frame)
        stream = io.BytesIO()
        (frame if changed is None else changed).to_parquet(stream, index=False)
        files[key] = stream.getvalue()

    return edit


def recast(cell: Path, results: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a finished cell into a results folder with another recipe, under the digest of that recipe."""
    recipe = read_json(cell / "config.json")
    change(recipe)
    folder: Path = results / recipe["task"]["name"] / recipe["algorithm"]["name"] / short(digest(recipe))
    shutil.copytree(cell, folder)
    write_json(folder / "config.json", recipe)
    done = read_json(cell / "DONE")["files"]
    mark_done(folder, [folder / name for name in done])
    for old in sorted((folder / "eval").iterdir()):
        values = {**read_json(old / "config.json"), "train": digest(recipe)}
        write_json(old / "config.json", values)
        mark_done(old, [f for f in old.iterdir() if f.suffix in (".json", ".parquet")])
        old.rename(old.with_name(short(digest(values))))
    return folder
