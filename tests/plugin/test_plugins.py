"""Distributions of third parties: installed, listed and run beside a broken one; uninstalled, and gone."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from support import HERE

pytestmark = pytest.mark.slow
ROOT = HERE.parent
EXAMPLE = ROOT / "examples" / "shiqbench-plugin-example"
WHO = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
BROKEN = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "shiqbench-broken"
version = "0.1.0"

[project.entry-points.shiqbench]
raises = "shiqbench_broken.raises"
rubbish = "shiqbench_broken.rubbish"
hollow = "shiqbench_broken.hollow"

[tool.setuptools]
packages = ["shiqbench_broken"]
""",
    "shiqbench_broken/__init__.py": "",
    "shiqbench_broken/raises.py": "import a_package_that_nobody_has\n",
    "shiqbench_broken/rubbish.py": """
from shiqbench.plugin.specs import hookimpl

@hookimpl
def shiqbench_register_algorithms():
    return ["not a spec"]
""",
    "shiqbench_broken/hollow.py": """
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl

@hookimpl
def shiqbench_register_algorithms():
    target = "shiqbench_broken.absent:Algorithm"
    return [AlgorithmSpec(name="hollow", version="1", summary="has no code", target=target, config=target)]
""",
}


class Environment:
    """A virtual environment that sees everything of this one and takes more."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (packages,) = folder.glob("lib/python*/site-packages")
        ours = sysconfig.get_path("purelib")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")

    def pip(self, *words: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "-q", *words]
        subprocess.run([*map(str, command)], check=True, capture_output=True)

    def install(self, *folders: Path) -> None:
        self.pip("install", "--no-deps", "--no-build-isolation", *folders)

    def shiqbench(self, *words: str | Path) -> Any:
        command = [self.python, "-m", "shiqbench", *words]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    def listing(self) -> dict[str, Any]:
        done = self.shiqbench("list", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the example and the broken distribution installed."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in BROKEN.items():
        path = folder / "broken" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = Environment(folder / "environment")
    made.install(EXAMPLE, folder / "broken")
    return made


def origins(listing: dict[str, Any], kind: str) -> dict[str, str]:
    return {entry["name"]: entry["from"] for entry in listing[kind]}


def test_an_installed_plugin_is_listed_with_its_distribution(environment: Environment) -> None:
    found = environment.listing()
    assert origins(found, "algorithms")["awr"] == "shiqbench-plugin-example"
    assert origins(found, "tasks")["gsm8k_solutions"] == "shiqbench-plugin-example"
    assert origins(found, "algorithms")["shiq"] == "shiqbench"
    shown = environment.shiqbench("show", "gsm8k_solutions")
    assert "example_model_solutions.jsonl" in shown.stdout


def test_a_broken_plugin_beside_it_is_reported_and_harms_nothing(environment: Environment) -> None:
    plugins = {p["name"]: p for p in environment.listing()["plugins"] if p["distribution"] == "shiqbench-broken"}
    assert plugins["raises"]["error"] == "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"
    assert plugins["rubbish"]["error"].startswith("TypeError: shiqbench_register_algorithms returned 'not a spec'")
    assert "error" not in plugins["hollow"]  # it can be listed; what it names is looked for when it is used
    text = environment.shiqbench("list", "plugins").stdout
    assert "raises  shiqbench-broken  ModuleNotFoundError" in text
    used = environment.shiqbench("run", "--algo", "hollow", "--task", "bfcl_v3")
    assert used.returncode == 2
    assert used.stderr.startswith("error: cannot load shiqbench_broken.absent:Algorithm: ModuleNotFoundError")
    assert used.stderr.count("\n") == 1


def recorded(folder: Path, problems: int) -> Path:
    """Solutions in the form of GSM8K's."""
    folder.mkdir()
    rows = []
    for i in range(problems):
        solutions = {w: {"is_correct": w == WHO[3], "solution": f"A: {i if w == WHO[3] else -1}"} for w in WHO}
        rows.append({"question": f"What is {i}?", "ground_truth": f"A: {i}", **solutions})
    (folder / "example_model_solutions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def test_both_of_them_run_and_an_unknown_name_says_what_did_not_load(
    environment: Environment, tiny_model: Path, own_cache: Path, tmp_path: Path
) -> None:
    data = recorded(tmp_path / "data", 40)
    words: list[str | Path] = ["--task", "gsm8k_solutions", "--set", f"task.data={data}", "--model", tiny_model]
    words += ["--preset", "smoke", "--results", tmp_path / "results"]
    done = environment.shiqbench("run", "--algo", "awr", *words, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["budget"]["updates"] == 2
    assert result["primary"]["name"] == "accuracy"
    assert result["metrics"]["problems"] == 2
    log = (Path(result["path"]) / "train.jsonl").read_text().splitlines()
    assert "weight_largest" in json.loads(log[0])
    unknown = environment.shiqbench("run", "--algo", "awrr", *words)
    assert unknown.returncode == 2
    assert "did you mean 'awr'?; plugin raises did not load: ModuleNotFoundError" in unknown.stderr


def test_uninstalling_removes_it(environment: Environment) -> None:
    environment.pip("uninstall", "--yes", "shiqbench-plugin-example", "shiqbench-broken")
    found = environment.listing()
    assert "awr" not in origins(found, "algorithms")
    assert "gsm8k_solutions" not in origins(found, "tasks")
    assert {p["distribution"] for p in found["plugins"]} == {"shiqbench"}
