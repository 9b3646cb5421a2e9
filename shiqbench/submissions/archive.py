"""The file of a submission: a zip of a part of a results folder, with an index of checksums.

Nothing in it is compressed, so the same cell gives the same bytes everywhere, and a file never unpacks to more than its
own size. Files of others are read with suspicion: only names that a submission has are accepted, and each is written
below its own folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shiqbench.base.digest import canonical_json, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = 1  # of the index
SUFFIX = ".shiqbench.zip"
INDEX = "submission.json"
LARGEST = 2_000_000_000  # bytes of a file
MOST = 2000  # files in a submission
CONFIG, MANIFEST, METRICS, RECORDS = "config.json", "manifest.json", "metrics.json", "records.parquet"
DONE, LOG = "DONE", "train.jsonl"
_WORD, _DIGEST = r"\w[\w.-]*", "[0-9a-f]{12}"
_NAME = re.compile(
    rf"tuned/{_DIGEST}\.json"
    rf"|(?P<cell>{_WORD}/{_WORD}/{_DIGEST})/"
    rf"(config\.json|manifest\.json|train\.jsonl|DONE"
    rf"|eval/{_DIGEST}/(config\.json|manifest\.json|metrics\.json|records\.parquet|DONE))",
    re.ASCII,
)
_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: the bytes do not depend on when a file was packed
_READABLE = 0o100644 << 16


class FileFacts(BaseModel):
    """Sha256 and size of a file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Contents(BaseModel):
    """The index of a submission.

    Attributes:
        format: Version of this format.
        cell: Folder of the cell, ``task/algorithm/digest``.
        digest: The cell's whole digest.
        starts: Recipes of the cells that training started from, the nearest first; as many as were there.
        files: Name -> sha256 and size of every other file.
        records: Records file -> first digits of the sha256 of each record, in order.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    format: int
    cell: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    starts: tuple[dict[str, Any], ...]
    files: dict[str, FileFacts]
    records: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Submission:
    """A submission that was read.

    Attributes:
        path: Its file.
        contents: Its index.
        files: Name -> content of every other file.
    """

    path: Path
    contents: Contents
    files: Mapping[str, bytes]

    @property
    def cell(self) -> str:
        """Folder of the cell, ``task/algorithm/digest``."""
        return self.contents.cell

    @property
    def evaluations(self) -> list[str]:
        """Folders of its evaluations, whole or not."""
        return sorted({name.rpartition("/")[0] for name in self.files if name.startswith(f"{self.cell}/eval/")})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def unpack(self, results: Path) -> None:
        """Write the files into a results folder; those that are there already must be the same."""
        for name, content in self.files.items():
            target = results / name  # the name has the form of _NAME
            with replacing(target) as temporary:
                temporary.write_bytes(content)


def name_of(cell: str) -> str:
    """The name of the file for a cell: ``task-algorithm-digest.shiqbench.zip``."""
    return cell.replace("/", "-") + SUFFIX


def pack(contents: Contents, files: Mapping[str, bytes]) -> bytes:
    """The bytes of a submission; the same for the same contents."""
    import io

    stream = io.BytesIO()
    index = json.dumps(contents.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [(INDEX, index.encode()), *sorted(files.items())]:
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.create_system, entry.external_attr = 3, _READABLE
            archive.writestr(entry, content)
    return stream.getvalue()


def facts_of(content: bytes) -> FileFacts:
    """Sha256 and size of a content."""
    return FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def read_submission(path: Path) -> Submission:
    """Read a submission. What its files say is not checked here.

    Raises:
        ConfigError: It is no submission, is damaged, is too large, or has another version of the format.
    """
    with _as_one_line(path):
        size = path.stat().st_size
        if size > LARGEST:
            raise _refused(path, f"it has {size:,} bytes, and a submission has at most {LARGEST:,}")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries, size)
            contents = {entry.filename: archive.read(entry) for entry in entries}
    return _checked(path, contents)


@contextmanager
def _as_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", where=str(path), do="shiqbench submit CELL writes one") from error
    except IsADirectoryError as error:
        raise ConfigError("this is a folder", where=str(path), do="name a file, or use shiqbench board") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise _refused(path, f"it is no whole zip file: {error}") from error


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse names that no submission has, and files that would unpack to more than they are."""
    names = [entry.filename for entry in entries]
    if len(names) > MOST:
        raise _refused(path, f"it holds {len(names):,} files, and a submission has at most {MOST:,}")
    for entry in entries:
        if entry.filename != INDEX and not _NAME.fullmatch(entry.filename):
            raise _refused(path, f"it holds {entry.filename[:100]!r}, which is no file of a submission")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _refused(path, f"{entry.filename} is compressed, and submissions are not")
        if entry.flag_bits & 1:
            raise _refused(path, f"{entry.filename} is encrypted")
    if len(set(names)) < len(names):
        raise _refused(path, f"it holds {max(names, key=names.count)} twice")
    if sum(entry.file_size for entry in entries) > size:
        raise _refused(path, "its files overlap")
    if INDEX not in names:
        raise _refused(path, f"it has no {INDEX}")


def _checked(path: Path, files: dict[str, bytes]) -> Submission:
    """Check the index, and that exactly its files are there, all of one cell."""
    text = files.pop(INDEX)
    try:
        version = read_object(INDEX, text).get("format")
    except ConfigError as error:
        raise _refused(path, error.what) from error
    if isinstance(version, int) and version != FORMAT:
        raise ConfigError(
            f"it has version {version} of the format, and this shiqbench reads {FORMAT}",
            where=str(path),
            do="install the shiqbench that wrote it" if version < FORMAT else "update shiqbench",
        )
    try:
        contents = Contents.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise _refused(path, f"{INDEX} is not valid: {where}: {first['msg']}") from error
    if unlike := sorted(contents.files.keys() ^ files.keys()):
        raise _refused(path, f"{INDEX} and the zip do not name the same files: {unlike[0][:100]!r}")
    cells = {found["cell"] for name in files if (found := _NAME.fullmatch(name)) and found["cell"]}
    if cells != {contents.cell} or f"{contents.cell}/{CONFIG}" not in files:
        raise _refused(
            path, f"it must hold one cell, {contents.cell!r}, and holds {', '.join(sorted(cells)) or 'none'}"
        )
    if not contents.cell.endswith(f"/{short(contents.digest)}"):
        raise _refused(path, f"{INDEX} names the cell {contents.cell} and the digest {short(contents.digest)}")
    return Submission(path, contents, files)


def read_object(name: str, content: bytes) -> dict[str, Any]:
    """Read a JSON object of which a digest can be made.

    Raises:
        ConfigError: It is no JSON object, has numbers that JSON does not know, or is nested too deeply.
    """
    try:
        found = json.loads(content)
        canonical_json(found)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{name} is no JSON object")
    return found


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"no submission: {why}", where=str(path), do="ask for the file that shiqbench submit wrote")
