"""``examples/first.toml`` and the table in the README that it makes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from support import ask

from shiqbench.report.make import make_report

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "examples" / "first.toml"


def printed() -> dict[str, float]:
    """The rows of the README's table: mean regret by algorithm, from the best to the worst."""
    (block,) = re.findall(r"```text\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    return {name: float(mean) for name, mean in re.findall(r"^ (\w+) +(\d\.\d+) \[", block, re.MULTILINE)}


def test_six_algorithms_and_three_seeds_are_planned(tmp_path: Path) -> None:
    done = ask("matrix", FIRST, "--results", tmp_path, "--dry-run")
    assert done.returncode == 0
    assert "16 cells: 0 done, 0 partial, 16 missing" in done.stdout
    assert len(printed()) == 6


def test_in_yaml_it_is_the_same_matrix(tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(yaml.safe_dump(tomllib.loads(FIRST.read_text())))
    in_yaml, in_toml = (ask("matrix", f, "--results", tmp_path / "r", "--dry-run", "--json") for f in (file, FIRST))
    assert in_yaml.returncode == 0
    assert json.loads(in_yaml.stdout)["cells"] == json.loads(in_toml.stdout)["cells"]


def test_an_unknown_key_in_yaml_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text("matrix:\n  algorithms: [shiq]\n  tasks: [mdp]\n  seed: [1]\n")
    done = ask("matrix", tmp_path / "m.yml")
    assert done.returncode == 2
    assert "unknown key 'matrix.seed', did you mean 'seeds'?" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)  # half a minute of CPU time, on a machine that may be busy
def test_the_table_is_that_of_the_readme_and_algorithms_differ(tmp_path: Path) -> None:
    done = ask("matrix", FIRST, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    (block,) = make_report(tmp_path, baseline="shiq").blocks
    means = {row.name: row.estimate.value for row in block.rows}
    assert means == pytest.approx(printed(), abs=0.02)
    assert {"dpo", "base", "sft"} == {row.name for row in block.rows if means[row.name] > 0.3}
