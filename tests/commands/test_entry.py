"""The command itself: its version, shell completion, and ``python -m shiqbench``."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import typer

from shiqbench.commands.app import app

COMMAND = (sys.executable, "-m", "shiqbench")


def output(*words: str, **environment: str) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=os.environ | environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert output("--version") == f"shiqbench {importlib.metadata.version('shiqbench')}\n"


def test_verbs_and_options_are_completed() -> None:
    bash = {"_SHIQBENCH_COMPLETE": "complete_bash"}
    assert output(**bash, COMP_WORDS="shiqbench re", COMP_CWORD="1").split() == ["report"]
    assert output(**bash, COMP_WORDS="shiqbench run --al", COMP_CWORD="2").split() == ["--algo", "--also"]


def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    # Completion uses the shell of the parent process, so the test starts one; with `exit`, bash stays that parent.
    command = f"{' '.join(COMMAND)} --install-completion; exit $?"
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=os.environ | {"HOME": str(tmp_path)})
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert str(script) in (tmp_path / ".bashrc").read_text()
    assert "complete -o default -F _shiqbench_completion shiqbench" in script.read_text()


def test_the_help_fits_a_terminal_and_names_every_verb() -> None:
    text = output("--help", COLUMNS="80")
    assert text.startswith("Usage: shiqbench ")
    assert max(map(len, text.splitlines())) <= 80
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert all(f"\n  {verb} " in text for verb in verbs)
