"""``run --config``: a file gives the options of a run, and what is typed overrides it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import TOY, ask

EXAMPLE = Path(__file__).parents[2] / "examples" / "run.toml"


def planned(*words: str | Path, cwd: Path) -> str:
    """The cell that a command would make."""
    done = ask("run", *words, "--dry-run", "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: str = json.loads(done.stdout)["path"]
    return found


SETTINGS = ("--set", "task.data=sample", "--set", "train.batch_episodes=128", "--set", "algo.stop_future=true")


def test_the_example_is_the_run_that_its_options_say(tmp_path: Path) -> None:
    typed = planned("--algo", "shiq", "--task", "mdp", *SETTINGS, cwd=tmp_path)
    assert planned("--config", EXAMPLE, cwd=tmp_path) == typed


def test_options_override_the_file_and_settings_add_to_it(tmp_path: Path) -> None:
    more = ("--seed", "3", "--set", "algo.stop_future=false", "--set", "train.lr=0.1", "--results", "there")
    typed = planned("--algo", "shiq", "--task", "mdp", *SETTINGS, *more, cwd=tmp_path)
    assert planned("--config", EXAMPLE, *more, cwd=tmp_path) == typed
    assert typed.startswith("there/")


def test_yaml_and_toml_are_one_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("algo: sft\ntask: mdp\nseed: 2\nset:\n  train:\n    lr: 1e-2\n  task.seeds: 4\n")
    (tmp_path / "a.toml").write_text(
        'algo = "sft"\ntask = "mdp"\nseed = 2\nset.train.lr = 1e-2\nset."task.seeds" = 4\n'
    )
    assert planned("--config", "a.yaml", cwd=tmp_path) == planned("--config", "a.toml", cwd=tmp_path)


def test_plugins_are_relative_to_the_file(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "toy.py").write_text(TOY.read_text())
    text = f"algo: base\ntask: toy\nmodel: {tiny_model}\nplugins: [toy.py]\n"
    (tmp_path / "sub" / "a.yml").write_text(text)
    assert "/toy/base/" in planned("--config", "sub/a.yml", cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("algo: shiq\ntask: mdp\nsed: 1\n", "unknown key 'sed', did you mean 'seed'?"),
        ("algo: shiq\ntask: mdp\nseed: many\n", "seed: input should be a valid integer"),
        ("algo: shiq\ntask: mdp\nrepeats: 0\n", "repeats: input should be greater than 0"),
        ("algo: shik\ntask: mdp\n", "did you mean 'shiq'"),
        ("algo: shiq\ntask: mdp\nset:\n  algo.bta: 1\n", "unknown setting 'algo.bta', did you mean 'algo.beta'?"),
        ("algo: shiq\n", "task"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    done = ask("run", "--config", "a.yaml", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]
