"""``submit``: packs a finished cell: recipe, manifest, log of training, metrics and records, but no weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, replacing
from shiqbench.plugin.registry import registry
from shiqbench.report.ledger import Ledger
from shiqbench.store.cell import CHECKPOINT, find_cell, is_done
from shiqbench.store.index import read_index
from shiqbench.store.index.reading import checked_file
from shiqbench.submissions.archive import (
    CONFIG,
    DONE,
    FORMAT,
    LOG,
    MANIFEST,
    METRICS,
    RECORDS,
    Contents,
    facts_of,
    name_of,
    pack,
    read_submission,
)
from shiqbench.submissions.private import paths_here, public_manifest, public_model, without_paths
from shiqbench.submissions.records import read_table, record_digests
from shiqbench.submissions.verify import check_submission, problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.base.findings import Finding


@dataclass(frozen=True)
class Submitted:
    """Result of packing a cell.

    Attributes:
        path: The file.
        sha256: Its sha256.
        evaluations: Number of evaluations in it.
        checks: What was checked in it, as ``verify`` does.
        notices: Lines that say what is not in it.
    """

    path: Path
    sha256: str
    evaluations: int
    checks: Sequence[Finding]
    notices: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return a value that JSON can represent."""
        found = {"path": str(self.path), "sha256": self.sha256, "evaluations": self.evaluations}
        return {**found, "notices": list(self.notices)}


@dataclass
class _Packed:
    files: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def submit(
    cell: str, into: Path = Path(), *, results: Path = Path("results"), plugins: tuple[Path, ...] = ()
) -> Submitted:
    """Pack a cell with its evaluations, and verify the file before it is written.

    Args:
        cell: Folder or digest of the cell.
        into: Folder for the file, whose name comes from the cell.
        results: Results folder.
        plugins: Local plugin files.

    Raises:
        ConfigError: The cell is not finished or not evaluated, its records do not give its metrics, a path on this
            machine is in a recipe, or the folder has another file of this name.
        CorruptCellError: A file differs from what was written.
    """
    folder = find_cell(cell.removeprefix("cell:"), results).resolve()
    name = "/".join(folder.parts[-3:])
    recipe = _json(folder, CONFIG)
    if name != (wanted := f"{recipe['task']['name']}/{recipe['algorithm']['name']}/{short(digest(recipe))}"):
        raise ConfigError(
            f"that folder is not {wanted} of a results folder", where=str(folder), do="name the cell where it was made"
        )
    packed = _Packed()
    starts = _starts(recipe, folder.parents[2], packed.notices)
    for each in (recipe, *starts):
        _refuse_paths(each, folder)
    manifest = _json(folder, MANIFEST)
    _pack_cell(packed, folder, name)
    _pack_evaluations(packed, folder, name)
    _pack_tuning(packed, folder, name, manifest, plugins)
    facts = {file: facts_of(content) for file, content in packed.files.items()}
    contents = Contents(
        format=FORMAT, cell=name, digest=digest(recipe), starts=tuple(starts), files=facts, records=packed.records
    )
    path, content = into / name_of(name), pack(contents, packed.files)
    if path.exists() and path.read_bytes() != content:
        raise ConfigError("it exists already, with another content", where=str(path), do="delete it, or name --into")
    checks = _write_checked(path, content, plugins)
    return Submitted(path, hashlib.sha256(content).hexdigest(), len(packed.records), checks, packed.notices)


def _write_checked(path: Path, content: bytes, plugins: tuple[Path, ...]) -> list[Finding]:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        checks = check_submission(read_submission(temporary), plugins)
        if wrong := problems(checks):
            raise ConfigError(
                f"it does not agree with itself: {wrong[0].name}: {wrong[0].text}",
                where=path.name,
                do=wrong[0].do or "run the evaluation again",
            )
    return checks


def _pack_cell(packed: _Packed, folder: Path, name: str) -> None:
    done = read_json(folder / DONE)
    weights = {file: facts for file, facts in done["files"].items() if file.startswith(f"{CHECKPOINT}/")}
    files = [CONFIG, MANIFEST, *[LOG] * (LOG in done["files"])]
    if others := sorted(done["files"].keys() - weights.keys() - set(files)):
        packed.notices.append(f"not packed: {', '.join(others)}")
    _add(packed, folder, name, files, cleaned={**done.get("cleaned", {}), **weights})


def _pack_evaluations(packed: _Packed, folder: Path, name: str) -> None:
    done = [f for f in sorted((folder / "eval").glob("*")) if is_done(f)]
    final = [f for f in done if not {"update", "best"} & _json(f, CONFIG).keys()]
    if not final:
        raise ConfigError("that cell has no finished evaluation", where=str(folder), do="run it first")
    if checkpoints := len(done) - len(final):
        packed.notices.append(f"not packed: {checkpoints} evaluations of weights during training")
    for evaluation in final:
        _refuse_paths(_json(evaluation, CONFIG), evaluation)
        at = f"{name}/eval/{evaluation.name}"
        _add(packed, evaluation, at, [CONFIG, MANIFEST, METRICS, RECORDS])
        records = f"{at}/{RECORDS}"
        packed.records[records] = record_digests(read_table(packed.files[records]))


def _add(
    packed: _Packed, folder: Path, name: str, files: Sequence[str], cleaned: Mapping[str, Any] | None = None
) -> None:
    """Add files of a finished folder, with a public manifest, and a DONE that fits it."""
    found = {file: checked_file(folder, file) for file in files}
    found[MANIFEST] = _text(public_manifest(json.loads(found[MANIFEST])))
    done: dict[str, Any] = {"files": {file: facts_of(content).model_dump() for file, content in found.items()}}
    found[DONE] = _text({**done, "cleaned": cleaned} if cleaned else done)
    packed.files |= {f"{name}/{file}": content for file, content in found.items()}


def _pack_tuning(
    packed: _Packed, folder: Path, name: str, manifest: Mapping[str, Any], plugins: tuple[Path, ...]
) -> None:
    """Add the trials among which the cell's settings were chosen: the ledger must not hide them from others."""
    results = folder.parents[2]
    index = read_index(results, name.split("/")[0])
    ledger = Ledger(index, registry(plugins))
    for file in ledger.tuned_files(index.cells[name]):
        kept = read_json(results / file)
        algorithm, task, model = kept["of"]
        own = manifest["model"] == model
        shown = model and public_model(model, manifest.get("model_revision") if own else None)
        packed.files[file] = _text({**without_paths(kept), "of": [algorithm, task, shown]})


def _starts(recipe: Mapping[str, Any], results: Path, notices: list[str]) -> list[dict[str, Any]]:
    """Recipes of the cells that training started from, the nearest first."""
    found: list[dict[str, Any]] = []
    wanted = recipe["model"].get("cell")
    while wanted is not None:
        folder = next(iter(sorted(results.glob(f"*/*/{short(wanted)}"))), None)
        if folder is None:
            notices.append(f"not packed: the recipe of its start {short(wanted)}, which is not in {results.name}")
            break
        found.append(_json(folder, CONFIG))
        wanted = found[-1]["model"].get("cell")
    return found


def _refuse_paths(recipe: Mapping[str, Any], folder: Path) -> None:
    if keys := list(paths_here(recipe)):
        raise ConfigError(
            f"its recipe holds a path on this machine: {', '.join(keys)}",
            where=str(folder / CONFIG),
            do="the plugin of the task or algorithm must name that setting in place_fields; then run the cell again",
        )


def _json(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checked_file(folder, name))
    return found


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
