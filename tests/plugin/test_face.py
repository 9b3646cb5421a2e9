"""The one namespace of a plugin's author: complete, light, documented, and used by everything that is a plugin."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import HERE

from shiqbench import plugin
from shiqbench.plugin import Batch, Episode, Message
from shiqbench.testing.component import HEAVY

ROOT = HERE.parent
API = ROOT / "docs" / "plugin_api.md"


def static_imports() -> dict[str, str]:
    """What type checkers see: name -> the module that it comes from."""
    tree = ast.parse(Path(plugin.__file__).read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    return {a.asname or a.name: str(n.module) for n in imports for a in n.names if "shiqbench" in str(n.module)}


def test_what_is_imported_later_is_what_type_checkers_see() -> None:
    lazy = {name: module for module, names in plugin._HOME.items() for name in names}
    assert lazy == static_imports()
    assert sorted(lazy) == sorted(plugin.__all__)
    assert len(set(plugin.__all__)) == len(plugin.__all__)
    assert not [name for name in plugin.__all__ if getattr(plugin, name) is None]


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Algorith'"):
        _ = plugin.Algorith
    with pytest.raises(ImportError, match="Algorith"):
        from shiqbench.plugin import Algorith  # noqa: F401


def test_importing_it_and_listing_plugins_needs_nothing_heavy() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY!r}))
import shiqbench.plugin as plugin
assert not [m for m in sys.modules if m.startswith("shiqbench.") and m != "shiqbench.plugin"]
found = plugin.find_plugins()
assert found.failures == [] and len(found.algorithms) > 10 and len(found.tasks) > 3
assert not [name for name in plugin.__all__ if getattr(plugin, name) is None]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_templates_and_the_example_import_what_is_public() -> None:
    public = ("shiqbench", "shiqbench.plugin", "shiqbench.testing", "shiqbench.report")
    files = [*(ROOT / "shiqbench" / "commands" / "templates").rglob("*.tmpl"), *(ROOT / "examples").rglob("*.py")]
    found = {f: re.findall(r"^\s*(?:from|import) (shiqbench[.\w]*)", f.read_text(), re.MULTILINE) for f in files}
    assert sum(map(len, found.values())) > 8
    inside = re.compile(r"shiqbench_")
    assert {m for names in found.values() for m in names if not inside.match(m)} <= set(public)


def test_every_public_name_is_on_one_page() -> None:
    rows = re.findall(r"^\| `([^`]+)`", API.read_text(), re.MULTILINE)
    names = [re.split(r"[(\[]", row)[0] for row in rows]
    assert [name for name in plugin.__all__ if names.count(name) != 1] == []


@pytest.mark.parametrize("kind", [Batch, Episode, Message])
def test_every_field_of_what_an_author_handles_most_is_on_that_page(kind: type) -> None:
    (section,) = re.findall(rf"^#+ `{kind.__name__}`.*?\n(.*?)(?=^#|\Z)", API.read_text(), re.MULTILINE | re.DOTALL)
    documented = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert documented == [f.name for f in dataclasses.fields(kind)]
