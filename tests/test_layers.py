"""The order of the rooms: every import goes down, also inside functions and for type checking."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shiqbench

ROOT = Path(__file__).parent.parent
# From the ground up. Rooms of one floor do not import each other.
FLOORS = (
    ("base", "stats"),
    ("store", "episodes"),
    ("models",),
    ("plugin",),
    ("training",),
    ("planning", "rewards", "engines"),
    ("running", "report"),
    ("matrices", "testing", "submissions"),
    ("api",),
    ("commands",),
    ("__init__", "__main__"),
)
LEVEL = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LONGEST = 350  # lines of a module
PLUGINS = {"shiqbench_algorithms": ROOT / "algorithms", "shiqbench_tasks": ROOT / "tasks"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every imported module or name: at the top, in functions, under ``TYPE_CHECKING``, by ``import_module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where they go"
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


def room_of(name: str) -> str | None:
    """Return the room of a dotted name; None outside the core."""
    top, *rest = name.split(".")
    if top != "shiqbench":
        return None
    return rest[0] if rest and rest[0] in LEVEL else "__init__"


def climbs(room: str, text: str) -> list[str]:
    """Return the imports of a module in this room that do not go down."""
    found = []
    for name in imported(ast.parse(text)):
        target = room_of(name)
        if target is not None and target != room and LEVEL[target] >= LEVEL[room]:
            found.append(f"{room} imports {name}")
    return found


def strays(text: str, own: str) -> list[str]:
    """Return an algorithm's or a task's imports from the core, except those from ``shiqbench.plugin``."""
    names = [n for n in imported(ast.parse(text)) if n.split(".")[0].startswith("shiqbench")]
    return [n for n in names if n.split(".")[0] != own and n.rpartition(".")[0] != "shiqbench.plugin"]


MODULES = sorted((ROOT / "shiqbench").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    assert climbs(path.relative_to(ROOT / "shiqbench").parts[0].removesuffix(".py"), path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from shiqbench.running.runner import run_plan",
        "def f():\n    import shiqbench.commands.app",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shiqbench.planning.plan import CellPlan",
        "from shiqbench import api",
        "from shiqbench import run",
        "import importlib\nimportlib.import_module('shiqbench.matrices.run')",
        "from shiqbench.engines import vllm",
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(planted: str) -> None:
    assert climbs("rewards", planted) != []
    assert climbs("rewards", "from shiqbench.base.errors import ConfigError\nimport shiqbench.rewards.head") == []


@pytest.mark.parametrize("own", PLUGINS)
def test_algorithms_and_tasks_use_the_public_face(own: str) -> None:
    found = {str(p.relative_to(PLUGINS[own])): strays(p.read_text(), own) for p in PLUGINS[own].rglob("*.py")}
    assert {name: names for name, names in found.items() if names} == {}
    assert strays("from shiqbench.base.errors import ConfigError", own) != []
    assert strays("from shiqbench.plugin import ConfigError", own) == []


def test_the_top_of_the_package_is_its_rooms() -> None:
    top = {p.name for p in (ROOT / "shiqbench").iterdir() if p.name != "__pycache__"}
    files = {"__init__.py", "__main__.py", "api.py", "py.typed"}
    assert top == files | {room for room in LEVEL if f"{room}.py" not in files}


@pytest.mark.parametrize("folder", ["shiqbench", "algorithms", "tasks"])
def test_no_module_is_long(folder: str) -> None:
    long = {str(p): n for p in (ROOT / folder).rglob("*.py") if (n := len(p.read_text().splitlines())) > LONGEST}
    assert long == {}


def test_no_room_hides_a_function_of_the_package() -> None:
    functions = {name for name, home in shiqbench._HOME.items() if home != f"shiqbench.{name}"}
    assert {"matrix", "run"} <= functions
    assert functions & set(LEVEL) == set()  # importing a room would put a module in the function's place
