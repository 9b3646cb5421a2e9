"""What is released: both files are built, checked and installed as a user gets them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOMES = {"shiqbench": "shiqbench", "algorithms": "shiqbench_algorithms", "tasks": "shiqbench_tasks"}
LEFT = (".git", ".venv*", "venv", ".tox", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist")
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
VERSION = "7.8.9"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; its errors are in the failure of the test."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def build(source: Path, out: Path, *options: str) -> list[Path]:
    """Build from a folder; what is needed for it is in this environment, so nothing is downloaded."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *options, source, cwd=out.parent)
    return sorted(out.iterdir())


def in_wheel(path: Path) -> set[str]:
    return {n for n in zipfile.ZipFile(path).namelist() if ".dist-info/" not in n}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is here, without git and without what git ignores."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT, "results"))
    return folder


@pytest.fixture(scope="module")
def released(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and sdist of a tagged commit; the wheel is built from the unpacked sdist, which has no git."""
    folder = tmp_path_factory.mktemp("released")
    project = folder / "project"
    shutil.copytree(copy, project)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "A release"), ("tag", f"v{VERSION}")):
        run(*GIT, *words, cwd=project)
    sdist, wheel = sorted(build(project, folder / "dist"), key=lambda p: p.suffix == ".whl")
    return wheel, sdist


@pytest.mark.slow
def test_both_files_are_as_the_index_wants_them(released: tuple[Path, Path]) -> None:
    assert [f"shiqbench-{VERSION}" in path.name for path in released] == [True, True]
    said = run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *released, cwd=released[0].parent)
    assert said.count("PASSED") == 2


@pytest.mark.slow
def test_the_wheel_holds_our_packages_and_nothing_else(released: tuple[Path, Path]) -> None:
    files = [p for home in HOMES for p in (ROOT / home).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    ours = {p.relative_to(ROOT).as_posix() for p in files if not any(part.endswith(".egg-info") for part in p.parts)}
    wanted = {name.removeprefix("algorithms/").removeprefix("tasks/") for name in ours}
    assert in_wheel(released[0]) == wanted
    assert {name.split("/")[0] for name in wanted} == set(HOMES.values())
    assert {f"{package}/py.typed" for package in HOMES.values()} <= wanted
    assert {f"shiqbench_tasks/{task}/presets.toml" for task in ("bfcl_v3", "chat_mdp", "mdp")} <= wanted
    assert {"shiqbench/commands/templates/pyproject.toml.tmpl", "shiqbench/report/page/page.html.j2"} <= wanted


@pytest.mark.slow
def test_the_sdist_holds_what_is_needed_to_test_it(released: tuple[Path, Path]) -> None:
    with tarfile.open(released[1]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "tox.ini", "tests/test_release.py", "docs/usage.md", "PKG-INFO"} <= names


@pytest.mark.slow
def test_a_copy_without_git_builds_the_same_wheel(copy: Path, released: tuple[Path, Path], tmp_path: Path) -> None:
    (wheel,) = build(copy, tmp_path / "dist", "--wheel")
    assert wheel.name.startswith("shiqbench-0.dev0-")
    assert in_wheel(wheel) == in_wheel(released[0])


@pytest.mark.slow
def test_the_installed_wheel_runs(released: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment of its own; only the packages that it depends on are this environment's."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python, command = home / "bin" / "python", home / "bin" / "shiqbench"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", released[0], cwd=tmp_path)
    (own,) = home.glob("lib/python3*/site-packages")
    shared = [p for p in sys.path if Path(p).name == "site-packages"]
    (own / "shared.pth").write_text("".join(f"{p}\n" for p in shared))
    where = run(python, "-P", "-c", "import shiqbench, shiqbench_tasks as t; print(t.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(own)
    assert run(command, "--version", cwd=tmp_path) == f"shiqbench {VERSION}\n"
    assert "bfcl_v3" in run(command, "list", cwd=tmp_path)
    assert "smoke" in run(command, "show", "mdp", cwd=tmp_path)  # a preset is in presets.toml
    run(command, "new", "task", "maze", cwd=tmp_path)  # from the templates
