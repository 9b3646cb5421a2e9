"""Nothing that a model writes is evaluated, and nothing of it leaves its episode."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shiqbench_tasks.bfcl_v3
import watched
from hostile import hostile_texts
from shiqbench_tasks.bfcl_v3.data import TOOL_FILES, Entry
from shiqbench_tasks.bfcl_v3.formats import FORMATS
from shiqbench_tasks.bfcl_v3.versions import VERSIONS, DataVersion

from shiqbench.base.wheels import fetch

PACKAGE = Path(shiqbench_tasks.bfcl_v3.__file__).parent
# Modules that see a model's text, or what was read from it.
PATH = (
    "calls", "formats", "guards", "loop", "native", "official_calls", "official_prompt", "prompt", "recorded_text",
    "scoring", "simulator",
)  # fmt: skip
REACHING = {
    "eval", "exec", "compile", "__import__", "globals", "locals", "getattr", "setattr", "delattr", "import_module",
    "pickle", "marshal", "shelve", "subprocess", "os", "system", "popen", "Popen", "ctypes", "literal_eval",
    "attrgetter", "methodcaller", "__getattribute__", "__globals__", "__builtins__", "__dict__", "__subclasses__",
}  # fmt: skip
# By module and function: names there come from the pinned package alone.
ALLOWED = {
    ("simulator", "official"): {"getattr", "import_module"},
    ("simulator", "__init__"): {"getattr"},
}
SETTINGS = 2 + len(FORMATS)


def _watched(root: Path, folder: Path, count: int, *hole: str) -> dict[str, Any]:
    """What the watched process saw."""
    (folder / "canary").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", watched.__file__, str(root), str(count), *hole],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 40 s of one core; the machine may be busy
def test_ten_thousand_hostile_messages_leave_no_trace(bfcl_root: Path, tmp_path: Path) -> None:
    report = _watched(bfcl_root, tmp_path, 10_000)
    assert report["texts"] == 10_000
    assert report["answered"] == 10_000 * SETTINGS
    assert report["events"] == {}
    assert report["changed"] == []
    played, won = report["bystanders"]
    assert played == won >= 8
    assert report["slowest"][0] < 1.0, report["slowest"]
    assert [p.name for p in tmp_path.rglob("*")] == ["canary"]
    assert len(report["outcomes"]) == SETTINGS
    for seen in report["outcomes"].values():  # it was no easy game: many got as far as a tool
        assert seen["tools reached"] > 500


@pytest.mark.parametrize(
    ("hole", "events", "changed"),
    [
        ("evaluating", {"compile", "exec", "open"}, {"folder"}),
        ("sharing", set(), {"bystanders"}),
        ("patching", set(), {"classes"}),
    ],
)
@pytest.mark.slow
def test_the_watch_sees_a_hole(bfcl_root: Path, tmp_path: Path, hole: str, events: set[str], changed: set[str]) -> None:
    report = _watched(bfcl_root, tmp_path, 300, hole)
    assert set(report["events"]) == events
    assert changed <= set(report["changed"])


def test_hostile_texts_are_different_and_always_the_same(entries: tuple[Entry, ...]) -> None:
    texts = hostile_texts(entries[0].tools, 1_000)
    assert len(set(texts)) == 1_000
    assert texts == hostile_texts(entries[0].tools, 1_000)
    assert texts != hostile_texts(entries[0].tools, 1_000, seed=1)


def _names(tree: ast.AST, function: str = "") -> list[tuple[str, str, int]]:
    """Every name and attribute, with the function around it."""
    found = []
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(node, ast.Name):
            found.append((node.id, function, node.lineno))
        elif isinstance(node, ast.Attribute):
            is_pattern = node.attr == "compile" and ast.unparse(node.value) == "re"
            found.append(("re.compile" if is_pattern else node.attr, function, node.lineno))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [(part, function, node.lineno) for a in node.names for part in a.name.split(".")]
        found += _names(node, inner)
    return found


@pytest.mark.parametrize("module", PATH)
def test_nothing_on_the_path_of_model_text_can_evaluate_it(module: str) -> None:
    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    reaching = [
        (name, function, line)
        for name, function, line in _names(ast.parse(source))
        if name in REACHING and name not in ALLOWED.get((module, function), ())
    ]
    assert reaching == []


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_nothing_of_the_official_code_that_sees_arguments_can_evaluate_them(version: DataVersion) -> None:
    folder = fetch(version.wheel) / "bfcl_eval" / "eval_checker" / "multi_turn_eval"
    sources = [folder / "func_source_code" / f"{name}.py" for name in (*TOOL_FILES.values(), "long_context")]
    comparing = {"getattr"}  # of an instance's own attributes, in its __eq__ and in the checker
    for file in (*sources, folder / "multi_turn_checker.py"):
        names = [found for found in _names(ast.parse(file.read_text(encoding="utf-8"))) if found[0] in REACHING]
        allowed = {"subprocess"} if file.stem == "gorilla_file_system" else set()  # imported there and not used
        assert {name for name, function, _ in names if function not in ("__eq__", "_compare_instances")} <= allowed
        assert {name for name, *_ in names} <= allowed | comparing
        assert sum(name == "subprocess" for name, *_ in names) == len(allowed)
