"""Interpreters with packages that cannot be installed next to shiqbench; made once under the user's cache folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shiqbench.base.cache import cache_dir, say


def folder_with(name: str, requirements: tuple[str, ...], bare: tuple[str, ...] = ()) -> Path:
    """The folder of a virtual environment; skips the test where pip cannot install the packages.

    Args:
        name: Of the folder.
        requirements: For pip.
        bare: Packages that are installed without what they require.
    """
    folder = cache_dir() / "environments" / name
    whole, python = folder / "whole", folder / "bin" / "python"
    if whole.exists() and whole.read_text() == repr((requirements, bare)):
        return folder
    say(f"installing {', '.join((*requirements, *bare))} into {folder}, once", None)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    for words in ([*pip, *requirements], [*pip, "--no-deps", *bare] if bare else []):
        done = subprocess.run(words, capture_output=True, text=True, check=False) if words else None
        if done is not None and done.returncode:
            pytest.skip(f"pip cannot install {requirements[0]}: {done.stderr.strip().splitlines()[-1]}")
    whole.write_text(repr((requirements, bare)))
    return folder
