"""The tab key offers names and settings, through the protocol of the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import TOY

COMMAND = (sys.executable, "-m", "shiqbench")


def offered(line: str, shell: str = "bash") -> list[str]:
    """What a shell gets for a line with the cursor at its end."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)} if shell == "bash" else {}
    words = words or {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    env = {**os.environ, "_SHIQBENCH_COMPLETE": f"complete_{shell}", **words}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=env, timeout=120)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shiqbench run --algo shi", ["shiq"]),
        ("shiqbench run --task md", ["mdp"]),
        ("shiqbench run --algo shiq --task mdp --set algo.stop", ["algo.stop_future="]),
        ("shiqbench run --task mdp --algo shiq --set task.arm", ["task.arm_rewards="]),
        ("shiqbench run --algo shiq --task mdp --set train.log", ["train.log_every="]),
        ("shiqbench run --algo shiq --task bfcl_v3 --set start.train.upd", ["start.train.updates="]),
        ("shiqbench run --algo base --task bfcl_v3 --set train.", []),
        ("shiqbench run --algo shiq --task mdp --set start.", []),
        ("shiqbench run --algo shik --task mpd --set a", []),
        (f"shiqbench run --plugin {TOY} --task to", ["toy"]),
        ("shiqbench run --plugin /nowhere.py --task to", []),
        ("shiqbench show bfcl_v3 --data --algo sft --set algo.top", []),
    ],
)
def test_names_and_settings_are_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_values_are_offered_where_there_are_few() -> None:
    found = offered("shiqbench run --algo shiq --task mdp --set task.mdp=", "fish")
    assert [line.split("\t")[0] for line in found] == [
        f"task.mdp={kind}" for kind in ("bandit", "chain", "tree", "grid", "random")
    ]


def test_a_run_file_says_for_which_algorithm(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("algo: shiq\ntask: mdp\n")
    assert offered(f"shiqbench run --config {tmp_path}/a.yaml --set algo.stop") == ["algo.stop_future="]


def test_a_real_bash_completes_a_setting(tmp_path: Path) -> None:
    command = tmp_path / "shiqbench"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m shiqbench "$@"\n')
    command.chmod(0o755)
    script = """
eval "$(_SHIQBENCH_COMPLETE=source_bash shiqbench)"
COMP_WORDS=(shiqbench run --algo shiq --task mdp --set algo.stop); COMP_CWORD=7
_shiqbench_completion shiqbench
echo "${COMPREPLY[@]}"
"""
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, timeout=120)
    assert done.stdout == "algo.stop_future=\n", done.stderr
