"""Where the data are: a hub's data set, a local folder, or one file; read through ``datasets``."""

from __future__ import annotations

import gzip
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, cache_dir, content_sha256, digest, read_text, short

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".jsonl.gz": "json", ".json.gz": "json"}
HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w./-]+))?")  # a data set, or one of its folders
EXAMPLE = "HuggingFaceH4/ultrafeedback_binarized"
GIVE_A_PATH = "give a local folder or file, as in --set task.data=PATH"


@dataclass(frozen=True)
class Source:
    """Data on this machine.

    Attributes:
        path: Folder or file.
        identity: The sha256 of a local file's bytes, or of a folder's files with their names in it, which decide splits
            and order; a hub's name, with the folder if only one is read, and commit. The place of local data is not in
            it.
    """

    path: Path
    identity: dict[str, str]


def locate(data: str, revision: str | None) -> Source:
    """Find the data, getting them from the hub if they are a hub's and not in its cache.

    Raises:
        ConfigError: There is nothing of that name, or the hub cannot be reached.
    """
    path = Path(data).expanduser()
    if path.exists():
        if revision is not None:
            raise ConfigError(f"a local path has no revision {revision!r}", where="task.revision", do="leave it out")
        return Source(path, {"sha256": _sha256(path)})
    name = HUB_NAME.fullmatch(data)
    if name and not data.startswith(".") and not (name[2] and _suffix(path)):
        return _from_hub(name[1], name[2] or "", revision)
    raise ConfigError(
        f"no data at {data!r}", where="task.data", do=f"give a folder, a file, or a hub name like {EXAMPLE}"
    )


def _sha256(path: Path) -> str:
    if path.is_file():
        if not _suffix(path):
            raise ConfigError(f"cannot read {path.suffix or 'this'} files", where=str(path), do="give " + _suffixes())
    elif not any(_suffix(f) and f.is_file() for f in path.rglob("*")):
        raise ConfigError("no data files", where=str(path), do="give a folder that holds " + _suffixes())
    return content_sha256(path)


def _suffix(path: Path) -> str:
    """The ending by which a file is read; empty if no reader knows it."""
    return next((suffix for suffix in BUILDERS if path.name.endswith(suffix)), "")


def _suffixes() -> str:
    return ", ".join(BUILDERS)


def _from_hub(name: str, part: str, revision: str | None) -> Source:
    from huggingface_hub import snapshot_download

    inside = f"{part.strip('/')}/" if part else ""
    patterns = [f"{inside}*{suffix}" for suffix in BUILDERS] + [f"{inside}README.md"]
    try:
        root = Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except Exception as error:  # whatever stands between here and the hub
        raise ConfigError(
            f"cannot get the data set {name} from the hub: {type(error).__name__}", where="task.data", do=GIVE_A_PATH
        ) from error
    if not (root / inside).is_dir():
        raise ConfigError(
            f"no folder {part} with data in the data set {name}",
            where="task.data",
            do="name a folder that the hub shows",
        )
    return Source(root / inside, {"hub": f"{name}/{inside}".rstrip("/"), "revision": root.name})


def rows(source: Source) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Split name, number and content of every row.

    Where a source has splits for preferences among others (``train_prefs``, ``train_sft``), those alone are read.

    Raises:
        ConfigError: ``datasets`` cannot read it, or it changes meanwhile.
    """
    import datasets

    datasets.disable_progress_bars()
    # ``datasets`` knows local files by path and time, and would give the rows of an older file of the same time.
    kept = cache_dir() / "datasets" / short(digest(source.identity))
    where = {"cache_dir": str(kept)}
    try:
        if source.path.is_file():
            kind = BUILDERS[_suffix(source.path)]
            found = datasets.load_dataset(kind, data_files={_split(source.path): str(source.path)}, **where)
        else:
            found = datasets.load_dataset(str(source.path), **where)
    except Exception as error:  # what a reader raises depends on the format
        _refuse_other_encodings(source.path)
        cause = error.__cause__ or error
        raise ConfigError(
            f"cannot read the data: {type(cause).__name__}: {str(cause)[:200]}",
            where=str(source.path),
            do="give JSON lines or parquet, one row a line",
        ) from error
    if source.identity.get("sha256", "") not in ("", content_sha256(source.path)):
        shutil.rmtree(kept)
        raise ConfigError("the data changed while they were read", where=str(source.path), do="run again")
    preferences = [name for name in found if name.endswith("_prefs")]
    try:
        for name in preferences or list(found):
            for number, row in enumerate(found[name]):
                yield name, number, row
    except UnicodeDecodeError:  # texts are decoded when they are read
        _refuse_other_encodings(source.path)
        raise


def _refuse_other_encodings(path: Path) -> None:
    """Refuse a text file that is not UTF-8, after a reader failed without saying which file or where.

    Raises:
        ConfigError: It names file, line and byte.
    """
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if BUILDERS.get(_suffix(file)) != "json" or not file.is_file():
            continue
        if file.suffix == ".gz":
            _refuse_broken(file)
        else:
            read_text(file)


def _refuse_broken(file: Path) -> None:
    try:
        gzip.decompress(file.read_bytes()).decode()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"not a whole gzip file: {error}", where=str(file), do="get it again") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"not UTF-8: byte {error.start + 1} of what it holds", where=str(file), do="write it as UTF-8"
        ) from error


def _split(file: Path) -> str:
    """A single file is a training file, unless its name says otherwise."""
    name = file.name.removesuffix(_suffix(file)).partition("-")[0]
    return name if re.fullmatch(r"\w+", name) and name.startswith(("test", "eval", "val", "dev")) else "train"
