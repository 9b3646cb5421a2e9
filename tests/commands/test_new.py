"""``new``: the written plugin works and passes its own tests; a request it cannot write is refused in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import HERE

from shiqbench.base.errors import ConfigError, ExitCode
from shiqbench.commands.app import main
from shiqbench.commands.new import KINDS, new

NAMES = {"algorithm": "my_first", "task": "echo2", "engine": "my_engine"}
WRITTEN = [*((kind, NAMES[kind], False) for kind in KINDS), ("task", "my_game", True)]


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_it_writes_a_distribution_and_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["new", "algorithm", "my_first", "--into", str(tmp_path)])
    assert done.value.code == ExitCode.DONE
    folder = tmp_path / "shiqbench-my-first"
    assert written(folder) == [
        "README.md",
        "pyproject.toml",
        "src/shiqbench_my_first/__init__.py",
        "src/shiqbench_my_first/algorithm.py",
        "tests/test_my_first.py",
    ]
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        f"  pip install --editable '{folder}[test]'",
        f"  python -m pytest {folder}",
        "  shiqbench run --algo my_first --task bfcl_v3 --preset smoke",
    ]
    assert "class MyFirst(Algorithm[MyFirstConfig])" in (folder / "src/shiqbench_my_first/algorithm.py").read_text()


def test_folders_are_named_so_that_pip_takes_them_for_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two words").mkdir()
    assert new("task", "echo2", Path()).commands[0] == "pip install --editable './shiqbench-echo2[test]'"
    assert new("task", "echo2", Path("two words")).commands[1] == "python -m pytest './two words/shiqbench-echo2'"


@pytest.mark.parametrize(("kind", "name", "multi_turn"), WRITTEN, ids=str)
def test_what_it_writes_is_clean(tmp_path: Path, kind: str, name: str, multi_turn: bool) -> None:
    folder = new(kind, name, tmp_path, multi_turn=multi_turn).folder
    (tmp_path / "ruff.toml").write_text(f'extend = "{HERE.parent / "pyproject.toml"}"\n')
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([shutil.which("ruff") or "ruff", *words, folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    assert "$" not in (folder / "README.md").read_text()


def test_only_a_task_has_several_turns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--multi-turn is for a task, not for engine"):
        new("engine", "my_engine", tmp_path, multi_turn=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_its_tests_pass_as_written_once_it_is_installed(tmp_path: Path) -> None:
    folders = [new(kind, name, tmp_path, multi_turn=several).folder for kind, name, several in WRITTEN]
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target]
    subprocess.run([*map(str, install), *map(str, folders)], check=True, capture_output=True)
    path = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *folders],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tsk", "x"], "cannot write a 'tsk', did you mean 'task'? (new)"),
        (["algorithm", "My-Algo"], "'My-Algo' cannot be a name (new)"),
        (["algorithm", "a__b"], "'a__b' cannot be a name (new)"),
        (["task", "lambda"], "'lambda' cannot be a name (new)"),
        (["task", "../x"], "'../x' cannot be a name (new)"),
        (["algorithm", "shiq"], "algorithm 'shiq' is registered by algorithms (shiqbench) (new)"),
        (["task", "algorithms"], "a package shiqbench_algorithms is installed already (new)"),
        (["engine", "vllm"], "engine 'vllm' is registered by engines (shiqbench) (new)"),
        (["task", "taken"], "shiqbench-taken exists already (new)"),
        (["task", "x", "--into", "nowhere"], "no folder nowhere (--into)"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (tmp_path / "shiqbench-taken").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["new", *words])
    captured = capsys.readouterr()
    assert done.value.code == ExitCode.USAGE
    assert captured.err.startswith(f"error: {said}; ")
    assert captured.err.count("\n") == 1
    assert written(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["shiqbench-taken"]


def test_an_algorithm_and_a_task_may_share_a_name_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = new("task", "shiq", tmp_path).folder
    assert (folder / "src" / "shiqbench_shiq" / "task.py").is_file()
    before = written(tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        new("task", "shiq", tmp_path)
    assert written(tmp_path) == before
