"""Rules for the whole project: the core imports no plugin, docs name every option."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from shiqbench.commands.app import app
from shiqbench.plugin.config import EvalConfig, StartConfig, TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.plugin.reward import Answered
from shiqbench.plugin.specs import ConfiguredSpec

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "shiqbench").rglob("*.py"))
PLUGINS = sorted([*(ROOT / "algorithms").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")])


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.stem)
def test_the_core_imports_no_algorithm_and_no_task(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"shiqbench_algorithms", "shiqbench_tasks"}


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda p: p.stem)
def test_nothing_is_evaluated_and_modules_are_small(path: Path) -> None:
    text = path.read_text()
    calls = [n.func.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert not {"eval", "exec", "compile"} & set(calls)
    assert len(text.splitlines()) <= 350


def documented() -> str:
    return "\n".join(p.read_text() for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])


def test_every_verb_and_option_is_in_the_docs() -> None:
    """The table has a row for each command; the row names exactly the options of that command."""
    group = typer.main.get_command(app)
    rows = dict(
        re.findall(r"^\| `shiqbench ?(\w*)` \| (.+) \|$", (ROOT / "docs" / "usage.md").read_text(), re.MULTILINE)
    )
    assert set(rows) == {"", *group.commands}  # type: ignore[attr-defined]
    for name, command in {"": group, **group.commands}.items():  # type: ignore[attr-defined]
        options = [o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")]
        assert re.findall(r"`(--[\w-]+)", rows[name]) == options, name


def test_every_algorithm_task_and_reward_model_has_its_docs() -> None:
    text = documented()
    for name in [*registry().algorithms, *registry().tasks, *registry().rewards]:
        assert f"`{name}`" in text or f"# {name}" in text


def test_every_setting_of_an_engine_is_in_its_docs() -> None:
    text = (ROOT / "docs" / "engines.md").read_text()
    for name, spec in registry().engines.items():
        assert f"| `{name}` |" in text
        assert all(f"`engine.{key}`" in text for key in spec.load_config().model_fields), name


def test_every_setting_is_shown_with_its_default() -> None:
    from shiqbench.commands.listing import fields

    kinds: list[type[BaseModel]] = [TrainConfig, EvalConfig, StartConfig]
    found = registry()
    specs: list[ConfiguredSpec] = [
        *found.algorithms.values(),
        *found.tasks.values(),
        *found.rewards.values(),
        *found.engines.values(),
    ]
    kinds += [s.load_config() for s in specs]
    for kind in kinds:
        assert set(fields(kind)) == set(kind.model_fields)
        assert all(" = " in str(setting) for setting in fields(kind).values())


def test_the_commands_of_the_readme_are_those_that_ci_and_the_examples_run() -> None:
    readme, tox = (ROOT / "README.md").read_text(), (ROOT / "tox.ini").read_text()
    first, main, tests = re.findall(r"```sh\n(.*?)\n```", readme, re.DOTALL)
    assert first.splitlines()[1] in (ROOT / "examples" / "first.toml").read_text()
    install, check, run = main.split(" && ")
    assert run == "shiqbench run --algo shiq --task bfcl_v3"
    assert (install, check) == ('pip install ".[cpu]"', "shiqbench doctor --fix")
    assert tox.count("extras = cpu,test") == tox.count(f"python -m {check}") == 2
    assert tests == "pip install tox && tox"
    assert f"pip install --quiet {tests.removeprefix('pip install ')}" in (ROOT / ".ci" / "run").read_text()


def test_the_plugin_of_the_readme_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "weighted.py"
    file.write_text(block)
    spec = registry((file,)).algorithm("weighted")
    assert spec.load()(spec.load_config()()).unit == "episode"


def test_the_reward_model_of_the_docs_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)\n```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)
    file = tmp_path / "brief.py"
    file.write_text(next(b for b in blocks if "RewardModel" in b))
    spec = registry((file,)).reward("brief")
    assert spec.load()(spec.load_config()()).score([Answered((), "ab")]) == [-2]
