"""Local data of the user's suites: read from the suites' folder and from nowhere else, and never from an older copy."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, cache_dir, content_sha256, short

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_data(folder: Path | None) -> Iterator[None]:
    """Read local data by their content: ``datasets`` knows local files by path and time.

    Names of files are relative to the folder. What lies elsewhere is refused, since no digest would name it.

    Args:
        folder: Folder with the user's suites; None if there is none.
    """
    import datasets

    if folder is None:
        yield
        return
    load, sha256 = datasets.load_dataset, content_sha256(folder)
    kept = cache_dir() / "datasets" / short(sha256)

    def load_own(path: str, *arguments: Any, **options: Any) -> Any:
        if path in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
            given = {key: options[key] for key in ("data_files", "data_dir") if options.get(key)}
            options |= {key: _in_folder(value, folder) for key, value in given.items()}
        elif (folder / path).is_dir():
            path = _in_folder(path, folder)
        else:
            return load(path, *arguments, **options)  # a data set of the hub
        found = load(path, *arguments, **options, cache_dir=str(kept))
        if content_sha256(folder) != sha256:
            shutil.rmtree(kept, ignore_errors=True)
            raise ConfigError("the data changed while they were read", where=str(folder), do="run again")
        return found

    datasets.load_dataset = load_own
    try:
        yield
    finally:
        datasets.load_dataset = load


def _in_folder(value: Any, folder: Path) -> Any:
    """The same names as absolute paths.

    Raises:
        ConfigError: One lies elsewhere.
    """
    if isinstance(value, dict):
        return {key: _in_folder(inner, folder) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_folder(inner, folder) for inner in value]
    if "://" in str(value):
        return value
    path = Path(os.path.abspath(folder / Path(value).expanduser()))  # noqa: PTH100 - a link in the folder may lead out
    if not path.is_relative_to(folder) and not path.resolve().is_relative_to(folder):
        raise ConfigError(
            f"a suite reads {path}, which is not in its folder",
            where=f"task.task_path {folder}",
            do="move the file there, and name it relative to the folder",
        )
    return str(path)
